"""Folders of pickled weights: which file counts, shards, and the verbs that read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from tests.checkpoints.hf.test_source import put
from tests.checkpoints.models import GPT2, LLAMA, tiny, tokens
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.source import PICKLED, PICKLED_INDEX, open_tensors
from tfcli.convert.run import run as convert
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import WorkError
from tfcli.inspect.run import run as inspect
from tfcli.inspect.spec import InspectSpec
from tfcli.recipe.job import Job

ONE, TWO = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"


def pickled(path: Path, **values: float) -> Path:
    torch.save({name: torch.tensor([float(value)]) for name, value in values.items()}, path)
    return path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    pickled(folder / ONE, a=1, b=2)
    pickled(folder / TWO, c=3)
    index = {"metadata": {}, "weight_map": {"a": ONE, "b": ONE, "c": TWO}}
    (folder / PICKLED_INDEX).write_text(json.dumps(index))
    return folder


def test_shards_and_a_single_file(sharded: Path) -> None:
    many = open_tensors(sharded)
    assert many.names == ("a", "b", "c")
    assert {name: t.item() for name, t in many.items()} == {"a": 1, "b": 2, "c": 3}
    assert many.info("c").file == sharded / TWO
    pickled(sharded / PICKLED, a=9)
    assert open_tensors(sharded).names == ("a",)


def test_safetensors_win(sharded: Path) -> None:
    put(sharded / "model.safetensors", a=4)
    assert open_tensors(sharded)["a"].item() == 4


@pytest.mark.parametrize("name", ["weights.pt", "x.pth", "last.ckpt", "anything.bin"])
def test_one_file_by_another_name(tmp_path: Path, name: str) -> None:
    pickled(tmp_path / name, a=1)
    # What trainers leave beside it is not mistaken for weights.
    for other in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        pickled(tmp_path / other, x=0)
    (tmp_path / "tokens.bin").write_bytes(b"\0\1\2\3")
    assert open_tensors(tmp_path).names == ("a",)
    assert open_tensors(tmp_path / name).names == ("a",)


def test_several_files_are_a_question(tmp_path: Path) -> None:
    pickled(tmp_path / "a.pt", a=1)
    pickled(tmp_path / "b.pt", b=1)
    with pytest.raises(WorkError, match=r"a\.pt, b\.pt") as error:
        open_tensors(tmp_path)
    assert error.value.fix == "name one of the files"


def test_the_content_says_the_kind_and_not_the_name(tmp_path: Path) -> None:
    put(tmp_path / PICKLED, a=1)
    assert open_tensors(tmp_path)["a"].item() == 1
    pickled(tmp_path / "model.safetensors", b=2)
    assert open_tensors(tmp_path)["b"].item() == 2
    # The first byte of this one is that of a pickle: the length of its header.
    header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(128)
    (tmp_path / "x.bin").write_bytes(len(header).to_bytes(8, "little") + header + b"\7")
    assert open_tensors(tmp_path / "x.bin")["w"].item() == 7


def test_a_file_without_tensors_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "names": ["a"]}, tmp_path / PICKLED)
    with pytest.raises(WorkError, match="no tensors, but dict of 2") as error:
        open_tensors(tmp_path)
    assert error.value.where == str(tmp_path / PICKLED)


@pytest.mark.parametrize(
    ("homes", "says"),
    [
        ({"a": ONE, "b": ONE, "c": "../x.bin"}, "leads outside its folder"),
        ({"a": ONE, "b": ONE, "c": "gone.bin"}, "1 of 2 shards are missing"),
        ({"a": ONE, "b": ONE, "c": TWO, "d": TWO}, f"'d' is not in {TWO}"),
        ({"a": ONE, "b": TWO, "c": TWO}, f"'b' is in {ONE}, not in {TWO}"),
        ({"a": ONE, "c": TWO}, "the first is 'b'"),
    ],
)
def test_an_index_that_does_not_tell_the_truth(
    sharded: Path, homes: dict[str, str], says: str
) -> None:
    pickled(sharded.parent / "x.bin", c=3)
    (sharded / PICKLED_INDEX).write_text(json.dumps({"weight_map": homes}))
    with pytest.raises(WorkError) as error:
        open_tensors(sharded)
    assert says in error.value.what
    assert str(sharded) in str(error.value.where)


def state(folder: Path) -> dict[str, Tensor]:
    """What transformers' save_pretrained(safe_serialization=False) pickled: tied tensors too."""
    return dict(transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict())


def test_what_a_trainer_saved_beside_the_weights_is_reported(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir()
    save_model(tiny(), old)
    weights = dict(open_tensors(old))
    (old / "model.safetensors").unlink()
    moments = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    state = {"state_dict": weights, "epoch": 3, "optimizer": {"exp_avg": moments, "lr": 0.1}}
    torch.save(state, old / "last.ckpt")
    source = open_tensors(old)
    assert set(source) == set(weights)
    assert source.beside == {"epoch": "3", "optimizer": "dict of 2"}
    result = convert(ConvertSpec(source=str(old), output=str(new)), Job(folder=new))
    assert result.unused == {
        "epoch": "3, beside the weights",
        "optimizer": "dict of 2, beside the weights",
    }
    assert set(open_tensors(new)) == set(weights)


@pytest.mark.interop
@pytest.mark.parametrize("settings", [LLAMA, GPT2], ids=lambda s: s["model_type"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickled_model_loads_converts_and_is_inspected(
    tmp_path: Path, settings: dict[str, object], zipped: bool
) -> None:
    plain, old, new = (tmp_path / name for name in ("plain", "old", "new"))
    model = tiny(settings, tie_word_embeddings=True)
    save_model(model, plain)
    old.mkdir()
    new.mkdir()
    shutil.copy(plain / "config.json", old)
    content = state(plain)
    assert "lm_head.weight" in content
    torch.save(content, old / PICKLED, _use_new_zipfile_serialization=zipped)

    with torch.no_grad():
        expected = model(tokens()).logits
        assert torch.equal(load_model(old)(tokens()).logits, expected)
        result = convert(ConvertSpec(source=str(old), output=str(new)), Job(folder=new))
        assert torch.equal(load_model(new)(tokens()).logits, expected)
    assert "lm_head.weight" not in open_tensors(new)
    assert result.tied == 1
    assert result.verified == len(open_tensors(new))

    of_folder = inspect(InspectSpec(path=str(old)), Job())
    of_file = inspect(InspectSpec(path=str(old / PICKLED)), Job())
    assert of_folder.files == of_file.files == [PICKLED]
    assert of_folder.parameters == inspect(InspectSpec(path=str(plain)), Job()).parameters
    assert {t.name for t in of_folder.tensors} == set(content)
