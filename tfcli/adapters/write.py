"""Writing an adapter as PEFT does: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tfcli.adapters.config import changes_of, copies_of, peft_config
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.write import verify_written
from tfcli.files import write_json
from tfcli.models.adapters.adapted import Adapted
from tfcli.models.adapters.attach import DEFAULT, biases
from tfcli.models.adapters.change import Kept
from tfcli.models.adapters.control import adapters_of
from tfcli.models.adapters.settings import Biases
from tfcli.models.adapters.walk import hub_name, prompt_of
from tfcli.models.errors import ModelError, hint
from tfcli.models.model import Model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def save_adapter(
    model: Model,
    folder: Path,
    name: str = DEFAULT,
    *,
    base: str | None = None,
    bias: Biases = "none",
    dtype: torch.dtype | None = None,
) -> Path:
    """Write an adapter of a model, read the file again and compare it.

    An adapter whose start took something out of the base's weights is written as one on the base
    as it was: of twice the rank, and plain LoRA for every reader.

    Args:
        model: with the adapter, on any device.
        folder: made when it is not there.
        name: of the adapter.
        base: what it was trained on, as a path or a hub id.
        bias: the biases of the base that go with it.
        dtype: of its tensors; None keeps theirs.

    Returns:
        the file with the tensors

    Raises:
        ModelError: the model has no such adapter, or PEFT no config for it.
        WorkError: the disk is full, or the file holds other values than the model.
    """
    pending = plan_adapter(model, name, bias=bias, dtype=dtype)
    return write_planned(pending, peft_config(model, name, base=base, bias=bias), folder)


def plan_adapter(
    model: Model,
    name: str = DEFAULT,
    *,
    bias: Biases = "none",
    dtype: torch.dtype | None = None,
) -> list[PendingTensor]:
    """The tensors of an adapter as they are written, none of which is made yet. Processes over
    which the model is spread read them together.

    Raises:
        ModelError: the model has no such adapter.
    """
    if name not in adapters_of(model):
        raise ModelError(
            f"the model has no adapter {name!r}", where=name, fix=hint(name, adapters_of(model))
        )
    return [
        PendingTensor(
            stored,
            dtype_code(dtype or each.dtype),
            each.shape,
            partial(_read, each, dtype),
        )
        for stored, each in adapter_tensors(model, name, bias)
    ]


def _read(kept: Kept, dtype: torch.dtype | None) -> Tensor:
    return kept.read().to(dtype or kept.dtype).contiguous()


def write_planned(
    pending: Sequence[PendingTensor], config: Mapping[str, Any], folder: Path
) -> Path:
    """Write what `plan_adapter` and `peft_config` say of an adapter; see `save_adapter`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS
    write_safetensors(path, pending)
    verify_written(open_tensors(path), pending)
    write_json(folder / CONFIG, dict(config))
    return path


def adapter_tensors(model: Model, name: str, bias: Biases) -> Iterator[tuple[str, Kept]]:
    """The tensors of an adapter, by PEFT's names."""
    prompt = prompt_of(model, name)
    if prompt is not None:
        yield from prompt.kept().items()
    for path, change in changes_of(model, name).items():
        for leaf, kept in change.kept().items():
            yield f"{PREFIX}{hub_name(model, path)}.{leaf}", kept
    for path, copy in copies_of(model, name).items():
        for leaf, tensor in copy.state_dict().items():
            owner, _, last = f"{path}.{leaf}".rpartition(".")
            stored = f"{PREFIX}{hub_name(model, owner)}.{last}"
            yield stored, _placed(model, f"{path}.{leaf}", tensor)
    for parameter, tensor in biases(model, name, bias).items():
        path = parameter.removesuffix(".bias")
        inner = ".base_layer" if isinstance(model.get_submodule(path), Adapted) else ""
        yield f"{PREFIX}{hub_name(model, path)}{inner}.bias", Kept.of(tensor)


def _placed(model: Model, parameter: str, tensor: Tensor) -> Kept:
    """A tensor as a checkpoint keeps it."""
    place, kept = model.place_of(parameter), Kept.of(tensor)
    shape = tuple(place.write(torch.empty(kept.shape, device="meta")).shape)
    return replace(kept, shape=shape, read=lambda: place.write(kept.read()))
