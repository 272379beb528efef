"""Opening checkpoints: one file, shards, and indexes that do not tell the truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import INDEX, open_tensors
from tfcli.errors import WorkError

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def put(path: Path, **values: float) -> Path:
    tensors = [
        PendingTensor.of(name, torch.tensor([float(value)])) for name, value in values.items()
    ]
    write_safetensors(path, tensors)
    return path


def index(folder: Path, **homes: object) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": homes}))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    put(folder / ONE, a=1, b=2)
    put(folder / TWO, c=3)
    index(folder, a=ONE, b=ONE, c=TWO)
    return folder


def refused(folder: Path, says: str) -> WorkError:
    """The error of opening `folder`, which must leave the folder as it is."""
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(WorkError) as error:
        open_tensors(folder)
    assert says in error.value.what
    assert str(folder) in str(error.value.where)
    assert sorted(path.name for path in folder.iterdir()) == before
    return error.value


def test_sharded_and_single_give_the_same_tensors(sharded: Path, tmp_path: Path) -> None:
    put(tmp_path / "model.safetensors", a=1, b=2, c=3)
    many, one = open_tensors(sharded), open_tensors(tmp_path)
    assert many.names == one.names == ("a", "b", "c")
    assert {name: t.item() for name, t in many.items()} == {"a": 1, "b": 2, "c": 3}
    assert {name: t.item() for name, t in one.items()} == {"a": 1, "b": 2, "c": 3}
    assert (len(many), many.nbytes, "a" in many, "x" in many) == (3, 12, True, False)
    assert many.info("c").file == sharded / TWO


def test_a_single_file_opens_by_itself_and_wins_over_shards(sharded: Path) -> None:
    single = put(sharded / "model.safetensors", a=9)
    assert open_tensors(single)["a"].item() == 9
    assert open_tensors(sharded).names == ("a",)


def test_opening_and_asking_reads_headers_alone(sharded: Path) -> None:
    source = open_tensors(sharded)
    assert "a" in source
    assert source.info("a").shape == (1,)
    assert list(source) == ["a", "b", "c"]


def test_an_unknown_name_is_a_key_error(sharded: Path) -> None:
    with pytest.raises(KeyError):
        open_tensors(sharded)["x"]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../out.safetensors", "a/../../out.safetensors", "..\\x", "", "a\0b"]
)
def test_shard_names_that_leave_the_folder(sharded: Path, name: str) -> None:
    put(sharded.parent / "out.safetensors", c=3)
    index(sharded, a=ONE, b=ONE, c=name)
    refused(sharded, "leads outside its folder")


def test_shards_that_are_links_to_elsewhere(sharded: Path) -> None:
    outside = put(sharded.parent / "out.safetensors", c=3)
    (sharded / TWO).unlink()
    (sharded / TWO).symlink_to(outside)
    refused(sharded, "is a link to a place outside")


def test_names_are_checked_before_any_shard_is_opened(sharded: Path) -> None:
    (sharded / ONE).write_bytes(b"broken")
    index(sharded, a=ONE, b=ONE, c="../x")
    refused(sharded, "leads outside its folder")


@pytest.mark.parametrize("name", ["model.safetensors", INDEX])
def test_links_to_elsewhere_are_refused_at_the_top_too(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    put(tmp_path / "secret", w=1)
    (folder / name).symlink_to(tmp_path / "secret")
    refused(folder, "is a link to a place outside")


def test_a_snapshot_of_the_hub_cache_links_to_its_blobs(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name/snapshots/abc"
    blobs = tmp_path / "models--org--name/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    put(blobs / "1234", w=5)
    (snapshot / "model.safetensors").symlink_to("../../blobs/1234")
    assert open_tensors(snapshot)["w"].item() == 5


def test_a_missing_shard(sharded: Path) -> None:
    (sharded / TWO).unlink()
    assert "get the checkpoint again" in str(refused(sharded, f"the first is '{TWO}'").fix)


def test_a_listed_tensor_that_is_in_no_shard(sharded: Path) -> None:
    index(sharded, a=ONE, b=ONE, c=TWO, d=TWO)
    refused(sharded, f"'d' is not in {TWO}")


def test_a_tensor_in_another_shard_than_listed(sharded: Path) -> None:
    index(sharded, a=ONE, b=TWO, c=TWO)
    refused(sharded, f"'b' is in {ONE}, not in {TWO}")


def test_a_tensor_that_is_not_listed(sharded: Path) -> None:
    index(sharded, a=ONE, c=TWO)
    refused(sharded, f"1 tensors are not listed, the first is 'b' of {ONE}")


def test_a_tensor_in_two_shards(sharded: Path) -> None:
    put(sharded / TWO, b=2, c=3)
    refused(sharded, f"'b' stands in {ONE} and in {TWO}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "weight_map"),
        ('{"weight_map": {}}', "weight_map"),
        ('{"weight_map": {"a": 1}}', "'weight_map.a': input should be a valid string"),
        ('{"weight_map": {"a": "x", "a": "y"}}', "'a' stands twice"),
    ],
)
def test_broken_indexes(sharded: Path, text: str, says: str) -> None:
    (sharded / INDEX).write_text(text)
    assert refused(sharded, says).where == str(sharded / INDEX)


def test_no_weights_and_weights_by_another_name(tmp_path: Path) -> None:
    refused(tmp_path, "no weights are here")
    put(tmp_path / "other.safetensors", w=1)
    assert "rename it" in str(refused(tmp_path, "but other.safetensors").fix)
