"""What a run is at a step, in safetensors files: weights, and the optimizer's numbers of each.

Every process writes a file: the first what all have alike, and each its parts of what is spread. A
file says where its parts belong, so that another number of processes can read them. Nothing is
pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.errors import WorkError
from tfcli.models.adapters.control import moved_tensors
from tfcli.models.sharding import is_first_copy, is_spread, part_of, spread_like
from tfcli.process_group import Processes

WEIGHTS, OPTIMIZER = "weights", "optimizer"
_PLACES = "places"
Values = dict[str, Any]
"""The optimizer's numbers that are no tensors, by the names of tensors."""


def weights_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and stored buffer, tied ones once; with an adapter on the model, only what
    training moves: the rest is the base's, which is read again."""
    seen: set[int] = set()
    own = moved_tensors(model)
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen and (own is None or name in own):
            seen.add(id(tensor))
            yield name, tensor


def optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, Any]]:
    """What an optimizer keeps of each parameter: `<parameter>/<what>` and its value."""
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            yield f"{name}/{key}", value


def key_of(name: str) -> str:
    """Which of a parameter's values `<parameter>/<what>` is."""
    return name.rpartition("/")[2]


def save_weights(model: nn.Module, folder: Path, processes: Processes) -> None:
    """Write this process's file of the weights."""
    _write(folder / file_name(WEIGHTS, processes.rank), dict(weights_of(model)), processes)


def save_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, processes: Processes
) -> Values:
    """Write this process's file of the optimizer's tensors.

    Returns:
        its other values, for a JSON file
    """
    state = dict(optimizer_state(model, optimizer))
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    _write(folder / file_name(OPTIMIZER, processes.rank), tensors, processes)
    return {name: value for name, value in state.items() if name not in tensors}


def load_weights(model: nn.Module, folder: Path) -> None:
    """Copy what `save_weights` wrote into the model's own tensors.

    Raises:
        WorkError: the files hold other tensors than the model.
    """
    stored = Stored(folder, WEIGHTS)
    with torch.no_grad():
        for name, slot in require_all(stored, weights_of(model)).items():
            _local(slot).copy_(stored.read(name, slot))


def require_all(stored: Stored, slots: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a model by name.

    Raises:
        WorkError: the files hold others.
    """
    named = dict(slots)
    if set(named) != set(stored.shapes):
        raise WorkError("the files hold other tensors than the model", where=str(stored.folder))
    return named


def load_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, values: Mapping[str, Any]
) -> None:
    """Give a fresh optimizer the state that `save_optimizer` wrote."""
    stored = Stored(folder, OPTIMIZER)
    parameters = dict(model.named_parameters())
    for name in [*stored.shapes, *values]:
        owner, _, key = name.rpartition("/")
        parameter = parameters.get(owner)
        if parameter is None:
            raise WorkError(
                f"the files have a state of {owner!r}, and the model no such weight",
                where=str(folder),
            )
        value = values.get(name)
        if name in stored.shapes:
            like = parameter if stored.shapes[name] == tuple(parameter.shape) else None
            value = stored.read(name, like)
            if like is not None and is_spread(like):
                value = spread_like(like, value)
        optimizer.state.setdefault(parameter, {})[key] = value


def _write(path: Path, tensors: Mapping[str, Tensor], processes: Processes) -> None:
    """Write what this process has of some tensors."""
    mine = {
        name: tensor
        for name, tensor in tensors.items()
        if (is_first_copy(tensor) if is_spread(tensor) else processes.first)
    }
    places = {
        name: {"shape": list(tensor.shape), "start": [each.start for each in part_of(tensor)]}
        for name, tensor in mine.items()
        if is_spread(tensor)
    }
    pending = [PendingTensor.of(name, _local(tensor.detach())) for name, tensor in mine.items()]
    write_safetensors(path, pending, {_PLACES: json.dumps(places)})


class Stored:
    """The tensors of all processes' files of one kind.

    Args:
        folder: where they lie.
        kind: `weights` or `optimizer`.

    Attributes:
        shapes: name -> the shape of the whole tensor.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._parts: dict[str, list[tuple[SafetensorsFile, tuple[int, ...]]]] = {}
        for path in sorted(folder.glob(f"{kind}-*.safetensors")):
            file = SafetensorsFile(path)
            places = json.loads(file.metadata.get(_PLACES, "{}"))
            for name in file.tensors:
                shape = tuple(file.tensor(name).shape)
                place = places.get(name, {"shape": shape, "start": [0] * len(shape)})
                self.shapes[name] = tuple(place["shape"])
                self._parts.setdefault(name, []).append((file, tuple(place["start"])))

    def read(self, name: str, slot: Tensor | None) -> Tensor:
        """A tensor, in memory of its own: the part of it that a slot holds, which may be spread in
        another way than the files are; whole without one."""
        wanted = tuple(slice(0, size) for size in self.shapes[name])
        if slot is not None and is_spread(slot):
            wanted = part_of(slot)
        parts = self._parts[name]
        sizes = [each.stop - each.start for each in wanted]
        made = torch.empty(sizes, dtype=parts[0][0].tensor(name).dtype)
        for file, start in parts:
            found = file.tensor(name)
            if not wanted:  # a number
                made.copy_(found())
                continue
            ends = [at + size for at, size in zip(start, found.shape, strict=True)]
            shared = [
                slice(max(each.start, at), min(each.stop, end))
                for each, at, end in zip(wanted, start, ends, strict=True)
            ]
            if all(each.start < each.stop for each in shared):
                rows, *others = _from(shared, start)
                # Rows are read alone; a further cut is made in memory.
                read = found.narrow(0, rows.start, rows.stop - rows.start)
                target = _from(shared, [each.start for each in wanted])
                made[target] = read[(slice(None), *others)]
        return made if slot is None else made.to(slot.device)


def _from(ranges: Sequence[slice], starts: Sequence[int]) -> tuple[slice, ...]:
    """Ranges counted from other places."""
    pairs = zip(ranges, starts, strict=True)
    return tuple(slice(each.start - at, each.stop - at) for each, at in pairs)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if is_spread(tensor) else tensor


def file_name(kind: str, rank: int) -> str:
    return f"{kind}-{rank:05d}.safetensors"
