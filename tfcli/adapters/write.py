"""Writing an adapter as PEFT does: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from tfcli.adapters.config import changes_of, copies_of, peft_config
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.write import verify_written
from tfcli.files import write_json
from tfcli.models.adapters.adapted import Adapted
from tfcli.models.adapters.attach import DEFAULT, biases
from tfcli.models.adapters.control import adapters_of
from tfcli.models.adapters.lora import Lora, LoraEmbedding
from tfcli.models.adapters.settings import Biases
from tfcli.models.adapters.walk import hub_name
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
    if name not in adapters_of(model):
        raise ModelError(
            f"the model has no adapter {name!r}", where=name, fix=hint(name, adapters_of(model))
        )
    config = peft_config(model, name, base=base, bias=bias)
    pending = [
        PendingTensor.of(
            f"{PREFIX}{stored}", tensor.detach().to(dtype or tensor.dtype).contiguous()
        )
        for stored, tensor in adapter_tensors(model, name, bias)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS
    write_safetensors(path, pending)
    verify_written(open_tensors(path), pending)
    write_json(folder / CONFIG, config)
    return path


def adapter_tensors(model: Model, name: str, bias: Biases) -> Iterator[tuple[str, Tensor]]:
    """The tensors of an adapter, by PEFT's names without its prefix."""
    for path, change in changes_of(model, name).items():
        for leaf, tensor in change.named_parameters():
            yield f"{hub_name(model, path)}.{leaf}", _whole(change, leaf, tensor)
    for path, copy in copies_of(model, name).items():
        for leaf, tensor in copy.state_dict().items():
            owner, _, last = f"{path}.{leaf}".rpartition(".")
            place = model.place_of(f"{owner}.{last}")
            yield f"{hub_name(model, owner)}.{last}", place.write(tensor)
    for parameter, tensor in biases(model, name, bias).items():
        path = parameter.removesuffix(".bias")
        inner = ".base_layer" if isinstance(model.get_submodule(path), Adapted) else ""
        yield f"{hub_name(model, path)}{inner}.bias", tensor


def _whole(change: object, leaf: str, tensor: Tensor) -> Tensor:
    """A tensor of an adapter on the base as it was at first."""
    if not isinstance(change, Lora) or change.first_a is None:
        return tensor
    assert not isinstance(change, LoraEmbedding), "no start takes something out of a table"
    return {"lora_A.weight": change.whole_factors[0], "lora_B.weight": change.whole_factors[1]}[
        leaf
    ]
