"""Dividing tensors into shards, and the index that says where each is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.shards import plan_shards, shard_names, write_shards
from tfcli.checkpoints.hf.source import INDEX, open_tensors
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


def test_names_are_those_of_the_hub() -> None:
    assert shard_names(1) == ["model.safetensors"]
    assert shard_names(3)[1] == "model-00002-of-00003.safetensors"


def test_shards_and_their_index(tmp_path: Path) -> None:
    files = write_shards(tmp_path, tensors(5, 5, 5), 10)
    assert [path.name for path in files] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == 15
    assert index["weight_map"] == {
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
