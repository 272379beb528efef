"""How nested objects become tensors by name, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tfcli.checkpoints.torch.file import TorchFile
from tfcli.errors import WorkError

W, V, M = torch.ones(2), torch.zeros(3), torch.full((2,), 5.0)


def opened(content: Any, tmp_path: Path) -> TorchFile:
    torch.save(content, tmp_path / "x.pt")
    return TorchFile(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"a.w": W, "v": V}, ["a.w", "v"]),
        ({"a": {"w": W, "b": {"v": V}}}, ["a.w", "a.b.v"]),
        ({"blocks": [{"w": W}, {"w": V}]}, ["blocks.0.w", "blocks.1.w"]),
        ({"pair": (W, [V])}, ["pair.0", "pair.1.0"]),
        ([W, V], ["0", "1"]),
        ({0: W, "v": V}, ["0", "v"]),
        (W, ["tensor"]),
    ],
    ids=["flat", "nested", "list", "tuple", "bare list", "number", "bare tensor"],
)
def test_containers_join_their_keys(tmp_path: Path, content: Any, names: list[str]) -> None:
    file = opened(content, tmp_path)
    assert list(file.tensors) == names
    assert torch.equal(file.read(names[0]), W)
    assert file.extras == {}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "module", "model"])
def test_wrapping_is_taken_off(tmp_path: Path, key: str) -> None:
    optimizer = {"state": {0: {"exp_avg": M}}, "param_groups": [{"lr": 0.1}]}
    file = opened({key: {"w": W, "v": V}, "optimizer": optimizer, "epoch": 3}, tmp_path)
    assert list(file.tensors) == ["w", "v"]
    assert file.extras["epoch"] == 3
    assert file.extras["optimizer"]["param_groups"] == [{"lr": 0.1}]
    assert file.metadata == {"optimizer": "dict of 2", "epoch": "3"}
    moment = file.extras["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(file.reads(moment)(), M)


def test_wrapping_is_taken_off_again(tmp_path: Path) -> None:
    content = {"iteration": 7, "model": {"module": {"model.w": W}, "rng_state": [V]}}
    file = opened(content, tmp_path)
    assert list(file.tensors) == ["model.w"]
    assert set(file.extras) == {"iteration", "model.rng_state"}


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"w": W}, "head": {"v": V}},
        {"model": {"w": W}, "v": V},
        {"model": {"w": W}, "module": {"v": V}},
        {"encoder": {"w": W}},
        {"model": [W]},
    ],
    ids=["a part beside it", "a tensor beside it", "two wrappers", "no wrapper", "a list"],
)
def test_no_weight_is_lost_to_unwrapping(tmp_path: Path, content: dict[str, Any]) -> None:
    file = opened(content, tmp_path)
    assert all(name.split(".")[0] in content for name in file.tensors)
    assert len(file.tensors) == len(content)
    assert file.extras == {}


def test_what_is_no_tensor_is_kept_beside(tmp_path: Path) -> None:
    content = {"w": W, "meta": {"step": 3, "v": V, "names": ["a"]}, "none": None}
    file = opened(content, tmp_path)
    assert list(file.tensors) == ["w", "meta.v"]
    assert file.extras == {"meta.step": 3, "meta.names": ["a"], "none": None}
    assert file.metadata == {"meta.step": "3", "meta.names": "list of 1", "none": "None"}


def test_the_whole_object_can_be_walked(tmp_path: Path) -> None:
    """Readers of other layouts take the object itself."""
    file = opened({"optimizer_state_dict": {"groups": [W, V]}, "ds_version": "0.19"}, tmp_path)
    groups = file.content["optimizer_state_dict"]["groups"]
    assert [torch.equal(file.reads(group)(), t) for group, t in zip(groups, (W, V), strict=True)]
    assert groups[1].shape == (3,)
    assert list(file.tensors) == ["optimizer_state_dict.groups.0", "optimizer_state_dict.groups.1"]


def test_one_tensor_under_two_names(tmp_path: Path) -> None:
    part = {"w": W}
    file = opened({"a": part, "b": part}, tmp_path)
    assert list(file.tensors) == ["a.w", "b.w"]
    assert file.read("a.w").data_ptr() == file.read("b.w").data_ptr()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"a.b": W, "a": {"b": V}}, "'a.b' stands twice"),
        ({1.5: W}, "a tensor has a float for a name"),
        ({("a", "b"): W}, "a tensor has a tuple for a name"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(WorkError) as error:
        opened(content, tmp_path)
    assert says in error.value.what
    assert error.value.where == str(tmp_path / "x.pt")
