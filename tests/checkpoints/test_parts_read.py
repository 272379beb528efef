"""Where a part of a stored tensor is wanted, no more than that is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoints.in_memory import written
from tests.checkpoints.reading import bytes_read
from tests.checkpoints.zero.test_zero import step, values
from tests.models.tiny import tiny_model
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import PendingGGUF, write_gguf
from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.models.loading import build, load_weights

ROWS = torch.arange(1000 * 64, dtype=torch.float32).view(1000, 64)


def test_rows_of_a_tensor(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", [PendingTensor.of("w", ROWS)])
    tensor = SafetensorsFile(tmp_path / "x").tensor("w")
    assert bytes_read(tensor.rows(3, 5)) == 2 * 64 * 4
    assert bytes_read(lambda: tensor.narrow(0, 3, 5)) == 5 * 64 * 4
    assert bytes_read(tensor) == ROWS.nbytes


def test_one_expert_of_a_gguf_stack(tmp_path: Path) -> None:
    raw = torch.from_numpy(np.zeros((8, 4, 34), np.uint8))
    write_gguf(tmp_path / "x", {}, [PendingGGUF("w", "Q8_0", (8, 4, 32), lambda: [raw])])
    file = GGUFFile(tmp_path / "x")
    file.dequantize("w", index=0)  # what it imports is read too
    assert bytes_read(lambda: file.dequantize("w", index=5)) == 4 * 34


@pytest.mark.parametrize("stage", [2, 3])
def test_a_weight_of_flat_partitions(tmp_path: Path, stage: int) -> None:
    opened = open_checkpoint(step(tmp_path / "in", stage))
    for name, value in values().items():
        assert bytes_read(opened.tensors[name].read) == value.nbytes


def stacked(tmp_path: Path) -> Path:
    """gpt-oss as it is stored: a stack for all experts of a kind."""
    config, tensors = written(tiny_model("gpt_oss"))
    pending = [PendingTensor.of(name, tensor) for name, tensor in tensors.items()]
    write_safetensors(tmp_path / "model.safetensors", pending)
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_stacks_of_experts_are_read_once_for_a_model(tmp_path: Path) -> None:
    opened = open_checkpoint(stacked(tmp_path))
    model = build(opened.model_config)
    assert bytes_read(lambda: load_weights(model, opened.weights)) == opened.nbytes


def test_one_entry_of_a_stack(tmp_path: Path) -> None:
    opened = open_checkpoint(stacked(tmp_path))
    name = "model.layers.0.mlp.experts.gate_up_proj"
    stack = opened.tensors[name]
    assert stack.shape[0] > 1
    assert torch.equal(opened.weights.entry(name, 1), stack.read()[1])
    assert bytes_read(lambda: opened.weights.entry(name, 1)) == stack.nbytes // stack.shape[0]
