"""A model's and an optimizer's state in safetensors files; nothing is pickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.errors import WorkError

SEPARATOR = "/"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write every parameter and stored buffer, tied ones once."""
    write_safetensors(path, (PendingTensor.of(*item) for item in _tensors(model)))


def load_weights_into(model: nn.Module, path: Path) -> None:
    """Copy what `save_weights` wrote into the model's own tensors.

    Raises:
        WorkError: the file holds other tensors than the model.
    """
    file = SafetensorsFile(path)
    slots = dict(_tensors(model))
    if set(slots) != set(file.tensors):
        raise WorkError("the file holds other tensors than the model", where=str(path))
    with torch.no_grad():
        for name, slot in slots.items():
            slot.copy_(file.read(name))


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def save_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> dict[str, Any]:
    """Write the optimizer's tensors.

    Returns:
        its other values, for a JSON file
    """
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in _flatten(optimizer.state_dict()["state"], ""):
        (tensors if isinstance(value, torch.Tensor) else values)[name] = value
    write_safetensors(path, (PendingTensor.of(*item) for item in tensors.items()))
    return values


def load_optimizer(optimizer: torch.optim.Optimizer, path: Path, values: Mapping[str, Any]) -> None:
    """Give a fresh optimizer the state that `save_optimizer` wrote."""
    file = SafetensorsFile(path)
    # A copy: the optimizer writes into these tensors, and the file is deleted under them.
    flat = {name: file.read(name).clone() for name in file.tensors} | dict(values)
    state: dict[Any, Any] = {}
    for name, value in flat.items():
        *route, last = name.split(SEPARATOR)
        place = state
        for part in [int(route[0]), *route[1:]]:
            place = place.setdefault(part, {})
        place[last] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _flatten(state: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}{SEPARATOR}")
        else:
            yield f"{prefix}{key}", value
