"""What to change in a training that does not fit, by the same count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from tfcli.estimate.result import EstimateChange
from tfcli.train.spec import TrainSpec

Tried = Callable[[TrainSpec, int], int]
"""From a spec and a number of processes to the bytes of each."""
LIGHT = ("adamw", "lion", "sgd")
"""The optimizers that weights that are spread can be moved by."""


def find_changes(
    spec: TrainSpec, processes: int, memory: int, tried: Tried
) -> list[EstimateChange]:
    """Changes that are made one after the other, each where it helps, up to the first that fits.

    What costs nothing comes first: the same step in smaller passes. Then what costs time, then what
    takes more processes, and at last what trains something else: an adapter.

    Args:
        spec: that does not fit.
        processes: that it has.
        memory: bytes of each.
        tried: counts one.
    """
    found: list[EstimateChange] = []
    now, least, keys = spec, tried(spec, processes), dict[str, str | int | bool]()
    for change, count in _candidates(spec, processes):
        made = _changed(now, change)
        if made is None:
            continue
        size = tried(made, count)
        if size >= least:
            continue
        now, least, keys, processes = made, size, {**keys, **change}, count
        found.append(EstimateChange(keys=keys, processes=count, bytes=size, fits=size <= memory))
        if size <= memory:
            break
    return found


def _candidates(
    spec: TrainSpec, processes: int
) -> Iterator[tuple[dict[str, str | int | bool], int]]:
    rows, passes = spec.batch_size, spec.gradient_accumulation
    if not spec.activation_checkpointing:
        yield {"activation_checkpointing": True}, processes
    while rows > 1 and rows % 2 == 0:
        rows, passes = rows // 2, passes * 2
        yield {"batch_size": rows, "gradient_accumulation": passes}, processes
    if not spec.has_adapter and spec.optimizer.name in LIGHT:
        for count in (each for each in (processes, 2, 4, 8, 16, 32, 64) if each >= processes):
            if count > 1:
                yield {"strategy": "fsdp"}, count
    if not spec.has_adapter and spec.model is not None:
        yield {"strategy": "ddp" if processes > 1 else "single", "adapter": "lora"}, processes


def _changed(spec: TrainSpec, change: dict[str, Any]) -> TrainSpec | None:
    """The spec with other keys; None where they do not go together."""
    given = spec.model_dump(exclude_unset=True)
    if "strategy" in change:
        given = {k: v for k, v in given.items() if k not in ("fsdp", "deepspeed")}
    try:
        return TrainSpec.model_validate({**given, **change})
    except ValidationError:
        return None
