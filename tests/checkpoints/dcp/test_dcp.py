"""torch.distributed.checkpoint folders that torch itself wrote."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
import transformers
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from tests.checkpoints.models import tiny, tokens
from tests.convert.memory import assert_bounded
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


def saved(path: Path, state: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    """A folder that one process saved."""
    dcp.save(state, checkpoint_id=path, no_dist=True)
    (path / "config.json").write_text(json.dumps(config or {"model_type": "other"}))
    return path


@pytest.fixture
def llama(tmp_path):
    save_model(tiny(), tmp_path / "hf")
    (tmp_path / "hf/tokenizer.json").write_text('{"model": {}}')
    return tmp_path / "hf"


def assert_equal(folder: Path, other: Path) -> None:
    one, two = open_tensors(folder), open_tensors(other)
    assert set(one) == set(two)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.interop
def test_two_processes_with_fully_sharded_weights(tmp_path, llama):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = Path(__file__).with_name("save_sharded.py")
    done = subprocess.run(
        [*torchrun, str(script), str(llama), str(tmp_path / "dcp")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert find_container(tmp_path / "dcp").name == "dcp"
    result = convert(tmp_path / "dcp", tmp_path / "out", config_from=str(llama))
    assert result.kind == "dcp" and result.companions == ["tokenizer.json"]
    assert any(t.how == "2 chunks put together" for t in result.tensors)
    assert result.unused.keys() == {"optimizer", "step"}
    assert result.unused["optimizer"].startswith("state of the training, ")
    assert_equal(llama, tmp_path / "out")
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values())
    with torch.no_grad():
        wanted = load_model(llama)(tokens()).logits
        assert torch.allclose(theirs(tokens()).logits, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"app": {"model": state, "optim": {"lr": 0.1, "exp": torch.ones(2)}}},
        lambda state: {"state_dict": state, "epoch": 3, "lr_schedulers": [{"last": 1}]},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"model.{name}": value for name, value in state.items()},
        lambda state: {
            "model": {
                name.replace("layers.0.", "layers.0._fsdp_wrapped_module._orig_mod."): value
                for name, value in state.items()
            }
        },
        lambda state: {"model": state, "train_state": {"step": torch.tensor(3)}},
    ],
    ids=["plain", "model", "app", "lightning", "module", "model-model", "inner", "torchtitan"],
)
def test_what_trainers_put_around_a_model(tmp_path, llama, wrap):
    source = open_tensors(llama)
    state = {name: source[name].clone() for name in source}
    config = json.loads((llama / "config.json").read_text())
    view = open_checkpoint(saved(tmp_path / "dcp", wrap(state), config))
    assert view.tensors.keys() == state.keys()
    assert all(torch.equal(view.tensors[name].read(), state[name]) for name in state)
    assert all(tensor.how == "" for tensor in view)


def test_every_type_of_value(tmp_path):
    types = (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool)
    state = {str(kind): torch.ones(3, 2).to(kind) for kind in types}
    state |= {
        "scalar": torch.tensor(2.0),
        "eight": torch.ones(4).to(torch.float8_e4m3fn),
        "turned": torch.arange(6.0).view(2, 3).T,
        "part": torch.arange(100.0)[7:9],
    }
    view = open_checkpoint(saved(tmp_path / "dcp", state))
    for name, value in state.items():
        found = view.tensors[name].read()
        assert found.dtype == value.dtype and found.shape == value.shape
        assert torch.equal(found.double(), value.double())


def test_where_the_config_comes_from(tmp_path, llama):
    source = open_tensors(llama)
    dcp.save({name: source[name] for name in source}, checkpoint_id=tmp_path / "w", no_dist=True)
    with pytest.raises(WorkError, match=r"neither the folder nor its parent has a config\.json"):
        open_checkpoint(tmp_path / "w")
    assert open_checkpoint(tmp_path / "w", Reading(llama)).companions == llama
    with pytest.raises(WorkError, match=r"the folder has no config\.json"):
        open_checkpoint(tmp_path / "w", Reading(tmp_path))
    with pytest.raises(UsageError, match="brings its own config"):
        convert(llama, tmp_path / "out", config_from=str(llama))
    (tmp_path / "config.json").write_bytes((llama / "config.json").read_bytes())
    assert open_checkpoint(tmp_path / "w").config["model_type"] == "llama"


def chunked(folder: Path, change: Any) -> Path:
    """A folder of one tensor [4, 6] in four chunks, its metadata changed in one thing."""
    folder.mkdir()
    values = torch.arange(24.0).view(4, 6)
    chunks, places = [], {}
    with (folder / "__0_0.distcp").open("wb") as file:
        for row in (0, 2):
            for column in (0, 3):
                start = file.tell()
                torch.save(values[row : row + 2, column : column + 3].clone(), file)
                offset = torch.Size([row, column])
                chunks.append(ChunkStorageMetadata(offset, torch.Size([2, 3])))
                info = dcp.filesystem._StorageInfo("__0_0.distcp", start, file.tell() - start)
                places[MetadataIndex("w", offset)] = info
    properties = TensorProperties(dtype=torch.float32)
    tensor = TensorStorageMetadata(properties, torch.Size([4, 6]), chunks)
    change(tensor, list(places.values()))
    metadata = Metadata({"w": tensor}, {"w": ("w",)}, places)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    (folder / "config.json").write_text('{"model_type": "other"}')
    return folder


def test_chunks_of_two_dimensions(tmp_path):
    view = open_checkpoint(chunked(tmp_path / "in", lambda tensor, places: None))
    assert torch.equal(view.tensors["w"].read(), torch.arange(24.0).view(4, 6))
    assert view.tensors["w"].how == "4 chunks put together"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, p: t.chunks.pop(), "3 chunks of 'w' do not fill"),
        (lambda t, p: setattr(t, "size", torch.Size([4, 7])), "do not fill"),
        (lambda t, p: setattr(t.chunks[0], "sizes", torch.Size([3, 2])), "do not fill"),
        (lambda t, p: setattr(t.chunks[0], "offsets", torch.Size([0, 3])), "do not fill"),
        (lambda t, p: setattr(t.chunks[0], "offsets", torch.Size([0, 1])), "no place for 'w'"),
        (lambda t, p: setattr(t, "size", torch.Size([2, 2, 6])), "do not fill"),
        (lambda t, p: setattr(p[1], "relative_path", "../x.distcp"), "leads outside"),
        (lambda t, p: setattr(p[1], "relative_path", "/etc/passwd"), "leads outside"),
        (lambda t, p: setattr(p[1], "relative_path", "__1_0.distcp"), "'__1_0.distcp' is missing"),
        (lambda t, p: setattr(p[1], "length", 10**12), "the file has"),
        (lambda t, p: setattr(p[1], "offset", -1), "lies in bytes -1"),
        (lambda t, p: setattr(p[1], "transform_descriptors", ["zstd"]), "transformed"),
        (lambda t, p: setattr(t, "chunks", None), "chunks of a TensorStorageMetadata"),
        (lambda t, p: setattr(t, "size", torch.Size([2**40, 2**40])), "do not fill"),
        (lambda t, p: setattr(t.properties, "dtype", torch.float64), r"is F32 \[2, 3\]"),
        (lambda t, p: setattr(p[1], "offset", p[1].offset + 8), "zip"),
    ],
)
def test_metadata_that_lies(tmp_path, change, message):
    source = chunked(tmp_path / "in", change)
    with pytest.raises(WorkError, match=message):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("place", ["top", "planner", "chunk"])
def test_metadata_that_asks_for_code(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)

    def change(tensor: Any, places: Any) -> None:
        if place == "chunk":
            tensor.chunks[0].sizes = Evil()

    source = chunked(tmp_path / "in", change)
    if place == "top":
        (source / ".metadata").write_bytes(pickle.dumps(Evil()))
    if place == "planner":
        (source / ".metadata").write_bytes(pickle.dumps(Metadata({}, Evil(), {})))
    with pytest.raises(WorkError, match="system"):
        open_checkpoint(source)
    assert not (tmp_path / "pwned").exists()


def test_metadata_cut_at_every_byte(tmp_path):
    source = chunked(tmp_path / "in", lambda tensor, places: None)
    whole = (source / ".metadata").read_bytes()
    for length in range(len(whole)):
        (source / ".metadata").write_bytes(whole[:length])
        with pytest.raises(WorkError):
            open_checkpoint(source)


def test_a_folder_without_weights(tmp_path):
    source = saved(tmp_path / "dcp", {"optimizer": {"state": torch.ones(2)}, "step": 3})
    with pytest.raises(WorkError, match="none is a model's weight"):
        open_checkpoint(source)


def test_memory_is_that_of_one_tensor(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    items, places = {}, {}
    half = torch.zeros(1024, 2048)
    with (folder / "__0_0.distcp").open("wb") as file:
        for number in range(8):
            name, chunks = f"w{number}", []
            for row in (0, 1024):
                start = file.tell()
                torch.save(half, file)
                offset = torch.Size([row, 0])
                chunks.append(ChunkStorageMetadata(offset, half.shape))
                info = dcp.filesystem._StorageInfo("__0_0.distcp", start, file.tell() - start)
                places[MetadataIndex(name, offset)] = info
            items[name] = TensorStorageMetadata(
                TensorProperties(dtype=torch.float32), torch.Size([2048, 2048]), chunks
            )
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata(items, None, places)))
    (folder / "config.json").write_text('{"model_type": "other"}')
    del half
    assert_bounded(lambda: open_checkpoint(folder))
