"""Checkpoints that lie in no file, for tests of names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.io.dtypes import dtype_code, stored_shape
from tfcli.models.model import Model
from tfcli.models.saving import export_config, export_tensors


def held(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Checkpoint:
    """A checkpoint as a reader would give it."""
    entries = {}
    for name, tensor in tensors.items():
        code = dtype_code(tensor.dtype)
        shape = stored_shape(code, tuple(tensor.shape))
        entries[name] = TensorEntry(name, code, shape, (name,), "", lambda t=tensor: t)
    return Checkpoint("hf", Path("in"), dict(config), entries, ())


def written(model: Model) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The config and the tensors of a model, as we write them."""
    return export_config(model), dict(export_tensors(model))


def assert_same(found: Checkpoint, tensors: Mapping[str, torch.Tensor]) -> None:
    """Every tensor has its name, its declared type and shape, and its values."""
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        entry, values = found.tensors[name], found.tensors[name].read()
        assert entry.name == name
        assert (entry.dtype, entry.shape) == (dtype_code(values.dtype), tuple(values.shape))
        assert torch.equal(values, tensor), name
