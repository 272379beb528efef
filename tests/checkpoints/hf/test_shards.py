"""Dividing tensors into shards, and the index that says where each is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tfcli.checkpoints.hf import index, shards
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.shards import plan_shards, shard_names, write_shards
from tfcli.checkpoints.hf.source import INDEX, open_tensors
from tfcli.checkpoints.io import header
from tfcli.checkpoints.torch.serialize import write_torch_shards
from tfcli.errors import WorkError


def tensors(*sizes: int) -> list[PendingTensor]:
    return [
        PendingTensor.of(f"t{number}", torch.full((size,), number, dtype=torch.uint8))
        for number, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "limit", "plan"),
    [
        ([4, 4, 4], 8, [[0, 1], [2]]),
        ([4, 4, 4], 12, [[0, 1, 2]]),
        ([9, 4], 8, [[0], [1]]),
        ([4, 9, 4, 4], 8, [[0], [1], [2, 3]]),
        ([0, 8, 0], 8, [[0, 1, 2]]),
        ([], 8, []),
    ],
)
def test_plan(sizes: list[int], limit: int, plan: list[list[int]]) -> None:
    found = plan_shards(tensors(*sizes), limit)
    assert [[tensor.name for tensor in shard] for shard in found] == [
        [f"t{number}" for number in shard] for shard in plan
    ]


def test_no_file_has_more_tensors_than_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_TENSORS", 2)
    assert [len(shard) for shard in plan_shards(tensors(1, 1, 1, 1, 1), 100)] == [2, 2, 1]


@pytest.mark.parametrize("write", [write_shards, write_torch_shards])
def test_the_most_tensors_of_a_file_are_read_again(tmp_path: Path, write: Any) -> None:
    names = [
        f"model.layers.60.mlp.experts.383.down_proj.weight_scale_inv.{number:040d}"
        for number in range(shards.MOST_TENSORS + 1)
    ]
    one = torch.zeros(1)
    files = write(tmp_path, [PendingTensor.of(name, one) for name in names], 10**9)
    assert len(files) == 2
    assert set(open_tensors(tmp_path)) == set(names)


def test_what_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_MEMORY", 1000)
    for write in (write_shards, write_torch_shards):
        with pytest.raises(WorkError, match="the index of 3 tensors would take"):
            write(tmp_path, tensors(5, 5, 5), 10)
    monkeypatch.setattr(header, "BUDGET", 1000)
    with pytest.raises(WorkError, match="the header of 3 tensors would take") as caught:
        write_shards(tmp_path, tensors(5, 5, 5))
    assert "more files" in str(caught.value.fix)
    assert list(tmp_path.iterdir()) == []


def test_names_are_those_of_the_hub() -> None:
    assert shard_names(1) == ["model.safetensors"]
    assert shard_names(3)[1] == "model-00002-of-00003.safetensors"


def test_shards_and_their_index(tmp_path: Path) -> None:
    files = write_shards(tmp_path, tensors(5, 5, 5), 10)
    assert [path.name for path in files] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    found = json.loads((tmp_path / INDEX).read_text())
    assert found["metadata"]["total_size"] == 15
    assert found["weight_map"] == {
        "t0": files[0].name,
        "t1": files[0].name,
        "t2": files[1].name,
    }
    assert {name: int(t[0]) for name, t in open_tensors(tmp_path).items()} == {
        "t0": 0,
        "t1": 1,
        "t2": 2,
    }


def test_one_file_needs_no_index(tmp_path: Path) -> None:
    assert write_shards(tmp_path, tensors(5), 10) == [tmp_path / "model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_room_for_all_shards_is_asked_for_first(tmp_path: Path) -> None:
    huge = PendingTensor("huge", "F32", (2**50,), lambda: pytest.fail("was read"))
    with pytest.raises(WorkError, match="the disk has room for"):
        write_shards(tmp_path, [*tensors(5), huge], 10)
    assert list(tmp_path.iterdir()) == []
