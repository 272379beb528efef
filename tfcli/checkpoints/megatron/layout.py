"""How tensor parallelism divides Megatron's tensors: joined from their parts, and split into them.

One function, `_pairs`, says which values of a part are which values of Hugging Face's tensor. To
join is to copy them one way, to split the other way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.checkpoints.megatron.rules import Rule


@dataclass(frozen=True)
class Heads:
    """How queries, keys and values lie in their one matrix.

    Args:
        count: heads of queries.
        groups: heads of keys and values.
        size: values of one head.
        version: of the checkpoint: 0 has all queries first, 1 has the three innermost, later ones
            have them head by head: the queries of a group, its key, its value.
    """

    count: int
    groups: int
    size: int
    version: float

    @property
    def row_counts(self) -> tuple[int, int, int]:
        """Rows of queries, keys and values in all."""
        return self.count * self.size, self.groups * self.size, self.groups * self.size

    def rows(self, part: Tensor, which: int, parts: int) -> Tensor:
        """The rows of queries (0), keys (1) or values (2) in one part, as a view.

        Args:
            part (Tensor): [rows, ...]
            which: of the three.
            parts: how many there are.

        Returns:
            Tensor: [groups, (queries of a group,) size, ...]
        """
        groups, each = self.groups // parts, self.count // self.groups
        if self.version < 1:
            return part.unflatten(0, (3, groups, self.size))[which]
        if self.version < 2:
            return part.unflatten(0, (groups, self.size, 3))[:, :, which]
        fused = part.unflatten(0, (groups, each + 2, self.size))
        return fused[:, :each] if which == 0 else fused[:, each + which - 1]


@dataclass(frozen=True)
class Layout:
    """How one stored tensor is divided.

    Args:
        rule: its own.
        heads: of the model.
        parts: how many files there are.
    """

    rule: Rule
    heads: Heads
    parts: int

    @property
    def along(self) -> int:
        """The dimension that is cut."""
        return 1 if self.rule.cut == "columns" else 0

    def part_shape(self, shapes: list[tuple[int, ...]], rows: int | None = None) -> tuple[int, ...]:
        """The shape of a part, for tensors of these shapes in Hugging Face's orientation.

        Args:
            shapes: of all tensors that lie in it.
            rows: to which the vocabulary is filled up.

        Raises:
            ValueError: the parts do not divide them, or they have other rows than the heads.
        """
        shapes = [shape[::-1] for shape in shapes] if self.rule.turned else shapes
        if self.rule.cut == "copy":
            return shapes[0]
        lengths = [shape[self.along] for shape in shapes]
        if self.rule.cut == "qkv":
            wanted = self.heads.row_counts
            if sum(lengths) != sum(wanted) or (len(lengths) == 3 and lengths != list(wanted)):
                raise ValueError(f"{lengths} rows are not those of the heads, {list(wanted)}")
        lengths = lengths if rows is None else [rows]
        if any(length % self.parts for length in lengths):
            raise ValueError(f"{self.parts} parts do not divide {lengths[0]}")
        whole = list(shapes[0])
        whole[self.along] = sum(lengths) // self.parts
        return tuple(whole)


def join(
    layout: Layout,
    part: Callable[[int], Tensor],
    which: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> Tensor:
    """One of Hugging Face's tensors.

    Args:
        layout: of the stored tensor that it lies in.
        part: reads a part by its number.
        which: of the tensors that lie there.
        shape: of the result, in Megatron's orientation.
        dtype: of the result.
    """
    turned = layout.rule.turned
    result = torch.empty(shape[::-1] if turned else shape, dtype=dtype)
    for rank in range(1 if layout.rule.cut == "copy" else layout.parts):
        for held, place in _pairs(layout, rank, part(rank), which, result.T if turned else result):
            place.copy_(held)
    return result


def split(
    layout: Layout, rank: int, whole: Callable[[int], Tensor], shape: tuple[int, ...]
) -> Tensor:
    """A part of a stored tensor; rows that fill up repeat the last one, as in Megatron's tools.

    Args:
        layout: of the stored tensor.
        rank: number of the part.
        whole: reads Hugging Face's tensors by their numbers.
        shape: of the part.
    """
    result: Tensor | None = None
    plain = layout.rule.cut in ("rows", "columns")
    for which in range(len(layout.rule.names)):
        tensor = whole(which)
        tensor = tensor.T if layout.rule.turned else tensor
        if layout.rule.cut == "copy" or (layout.parts == 1 and tensor.shape == shape and plain):
            return tensor
        if result is None:
            result = torch.empty(shape, dtype=tensor.dtype)
        for place, held in _pairs(layout, rank, result, which, tensor):
            place.copy_(held)
        if layout.rule.cut == "rows":
            result[max(len(tensor) - rank * len(result), 0) :] = tensor[-1]
    assert result is not None
    return result


def _pairs(
    layout: Layout, rank: int, part: Tensor, which: int, whole: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of a part and of a whole tensor that are to hold the same values.

    Args:
        layout: of the stored tensor.
        rank: number of the part.
        part (Tensor): [rows, ...] or [rows, columns]
        which: of the tensors that lie in it.
        whole (Tensor): that one, not turned; rows of the part that go beyond it are left out.
    """
    rule, along, begin = layout.rule, layout.along, 0
    one_matrix = rule.cut == "qkv" and len(rule.names) == 1
    for turn in range(3) if one_matrix else (which,):
        held = part
        if rule.cut == "gate_up":
            held = part.chunk(2)[turn]
        elif rule.cut == "qkv":
            held = layout.heads.rows(part, turn, layout.parts)
        divided = held.dim() - part.dim() + 1  # dimensions that its rows are spread over
        length = held.shape[1] if along else math.prod(held.shape[:divided])
        start = 0 if rule.cut == "copy" else begin + rank * length
        begin += length * layout.parts
        room = min(length, whole.shape[along] - start)
        if room <= 0:
            continue
        held = held if room == length else held.narrow(along, 0, room)
        place = whole.narrow(along, start, room)
        yield held, place if divided == 1 else place.unflatten(0, held.shape[:divided])
