"""Parameters that are spread over processes: which part is this process's, and reading only that.

A model is spread while it is on the meta device, by torch's `fully_shard` or `parallelize_module`;
its parameters are `DTensor` from then on, and loading fills the part that each process holds.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from tfcli.models.errors import ModelError
from tfcli.models.rules import Place

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Part = tuple[slice, ...]
"""A range of each dimension of a tensor."""


class Unread(Protocol):
    """A stored tensor of which parts can be read; in commands a `FileTensor`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As it is stored."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the values."""

    def select(self, number: int) -> Unread:
        """One entry of the first dimension; nothing is read."""

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """The values of a part of one dimension."""


class PartlyRead(Protocol):
    """A mapping of names to tensors that can also read a part of one."""

    def unread(self, name: str) -> Unread | None:
        """The tensor `name`, which is not read yet; None where it can only be made whole."""


def is_spread(tensor: object) -> TypeGuard[DTensor]:
    """Whether a tensor is spread over processes."""
    # Without its module, which takes long to import, there is no such tensor.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with what all processes hold of it, which all must ask for together."""
    return tensor.full_tensor() if is_spread(tensor) else tensor


def is_first_copy(slot: DTensor) -> bool:
    """Whether this process's part is the one to write where others have the same."""
    mesh = slot.device_mesh
    place = mesh.get_coordinate()
    if place is None or not bool((mesh.mesh == 0).any()):
        return False  # the mesh of the first process has a copy
    return not any(at for at, how in zip(place, slot.placements, strict=True) if how.is_replicate())


def parts_of(slot: DTensor) -> int:
    """How many different parts a tensor is spread in."""
    pairs = zip(slot.device_mesh.shape, slot.placements, strict=True)
    return math.prod(size for size, how in pairs if not how.is_replicate())


def part_of(slot: DTensor) -> Part:
    """The part of a spread parameter that this process holds.

    Raises:
        ModelError: it lies in several pieces.
    """
    chunks: list[Any] = slot.__create_chunk_list__()
    if len(chunks) != 1:
        raise ModelError(f"a parameter is spread in {len(chunks)} pieces a process, not in one")
    begins, sizes = chunks[0].offsets, chunks[0].sizes
    return tuple(slice(at, at + size) for at, size in zip(begins, sizes, strict=True))


def read_part(stored: Unread, place: Place, part: Part) -> Tensor:
    """The part of a parameter, read from where a checkpoint keeps it. Contiguous.

    Bytes are read of the first dimension that is cut; a further cut is made in memory.
    """
    view = stored if place.index is None else stored.select(place.index)
    ranges = [
        (dim, each.start, each.stop - each.start)
        for dim, each in enumerate(reversed(part) if place.transposed else part)
    ]
    (first, *others) = [each for each in ranges if each[2] < view.shape[each[0]]] or ranges[:1]
    tensor = view.narrow(*first)
    for each in others:
        tensor = tensor.narrow(*each)
    return (tensor.t() if place.transposed else tensor).contiguous()


def spread_like(slot: DTensor, local: Tensor) -> DTensor:
    """A tensor that is spread as `slot` is, from the part that this process holds."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        local,
        slot.device_mesh,
        slot.placements,
        run_check=False,
        shape=slot.shape,
        stride=slot.stride(),
    )


def fitted(slot: Tensor | None, tensor: Tensor) -> Tensor:
    """A tensor for a parameter's or buffer's place: spread where what is there is spread.

    Args:
        slot (Tensor): what is there.
        tensor (Tensor): whole, or spread already.
    """
    if is_spread(slot) and not is_spread(tensor):
        tensor = spread_like(slot, tensor[part_of(slot)].clone())
    if isinstance(slot, nn.Parameter):
        return nn.Parameter(tensor, requires_grad=slot.requires_grad)
    return tensor


@torch.no_grad()
def fill(slot: Tensor, values: Tensor) -> None:
    """Give a tensor values in place; of one that is spread, the part that this process holds.

    Args:
        slot (Tensor): what is filled.
        values (Tensor): whole, or spread as `slot` is.
    """
    if not is_spread(slot):
        slot.copy_(values)
    elif is_spread(values):
        slot.to_local().copy_(values.to_local())
    else:
        slot.to_local().copy_(values[part_of(slot)])


def give_memory(module: nn.Module, device: torch.device) -> None:
    """Move the tensors of a module that are on the meta device to another one, without values."""
    for owner in module.modules():
        held = {**owner._parameters, **owner._buffers}
        for leaf, slot in held.items():
            if slot is None or not slot.is_meta:
                continue
            shape = slot.shape
            if is_spread(slot):
                shape = torch.Size(each.stop - each.start for each in part_of(slot))
            made = torch.empty(shape, dtype=slot.dtype, device=device)
            setattr(owner, leaf, fitted(slot, spread_like(slot, made) if is_spread(slot) else made))
