"""`tfcli shard`: other files, the same tensors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.checkpoints.models import LLAMA, tiny
from tfcli.checkpoints import write as checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import WorkError
from tfcli.recipe.execute import execute
from tfcli.shard.spec import ShardResult, ShardSpec


def shard(source: Path, output: Path, size: int | str) -> ShardResult:
    spec = ShardSpec(source=str(source), output=str(output), shard_size=size)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ShardResult)
    return result


@pytest.fixture
def llama(tmp_path: Path, tiny_tokenizer: Path) -> Path:
    save_model(tiny({**LLAMA, "vocab_size": 320}), tmp_path / "in", tokenizer_from=tiny_tokenizer)
    return tmp_path / "in"


def pickled(folder: Path) -> Path:
    """The folder's weights as torch.save writes them."""
    state = dict(open_tensors(folder))
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def assert_same(one: Path, other: Path) -> None:
    a, b = open_tensors(one), open_tensors(other)
    assert set(a) == set(b)
    for name in a:
        assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_into_many_files_and_back_into_one(llama: Path, tmp_path: Path, kind: str) -> None:
    source = pickled(llama) if kind == "torch" else llama
    many = shard(source, tmp_path / "many", "20KB")
    assert many.container == kind
    assert len(many.files) > 3 and len(many.source_files) == 1
    assert all((tmp_path / "many" / name).stat().st_size < 50_000 for name in many.files)
    assert_same(source, tmp_path / "many")
    assert many.verified == len(open_tensors(source))
    load_model(tmp_path / "many")

    one = shard(tmp_path / "many", tmp_path / "one", "1TB")
    assert one.files == ["pytorch_model.bin" if kind == "torch" else "model.safetensors"]
    assert one.source_files == many.files
    assert_same(source, tmp_path / "one")
    config = json.loads((source / "config.json").read_text())
    assert json.loads((tmp_path / "one/config.json").read_text()) == config
    assert one.companions == many.companions == ["tokenizer.json", "tokenizer_config.json"]


def test_tensors_and_header_texts_stay_as_they_are_stored(llama: Path, tmp_path: Path) -> None:
    # A tied tensor that is stored, a packed one, a type that nothing computes with, a made-up key.
    held = dict(open_tensors(llama))
    held["lm_head.weight"] = held["model.embed_tokens.weight"].clone()
    held["x.qweight"] = torch.arange(8, dtype=torch.int32)
    held["y"] = torch.ones(4).to(torch.float8_e4m3fn)
    pending = [PendingTensor.of(name, tensor.clone()) for name, tensor in held.items()]
    write_safetensors(llama / "model.safetensors", pending, {"format": "mlx", "note": "kept"})
    config = json.loads((llama / "config.json").read_text())
    changed = {**config, "tie_word_embeddings": True, "quantization_config": {"bits": 4}}
    (llama / "config.json").write_text(json.dumps(changed))
    shard(llama, tmp_path / "out", "20KB")
    assert_same(llama, tmp_path / "out")
    for path in (tmp_path / "out").glob("*.safetensors"):
        assert SafetensorsFile(path).metadata == {"format": "mlx", "note": "kept"}


def test_the_card_and_what_was_left_out(llama: Path, tmp_path: Path) -> None:
    (llama / "modeling_own.py").write_text("")
    result = shard(llama, tmp_path / "out", "20KB")
    assert result.left_out == ["modeling_own.py"]
    card = (tmp_path / "out/README.md").read_text()
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["inputs"][str(llama)] in card
    assert f"1 -> {len(result.files)}, at most 20.0 kB each" in card
    assert f"{result.verified} tensors read back" in card
    assert str(tmp_path) not in card


def test_an_optimizer_beside_the_weights_is_not_written(llama: Path, tmp_path: Path) -> None:
    state = {"model": dict(open_tensors(llama)), "optimizer": {"lr": 0.1}}
    (llama / "model.safetensors").unlink()
    torch.save(state, llama / "last.pt")
    result = shard(llama, tmp_path / "out", "1GB")
    assert (result.files, result.beside) == (
        ["pytorch_model.bin"],
        {"optimizer": "dict of 1, beside the weights"},
    )


def test_what_was_written_is_compared(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flip(folder: Path) -> object:
        path = next(folder.glob("*.safetensors"))
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        return open_tensors(folder)

    monkeypatch.setattr(checkpoint, "open_tensors", flip)
    with pytest.raises(WorkError, match=r"verification: .* differs"):
        shard(llama, tmp_path / "out", "1GB")
    assert not (tmp_path / "out").exists()


def test_a_file_and_another_container_become_a_folder(llama: Path, tmp_path: Path) -> None:
    shard(llama / "model.safetensors", tmp_path / "of file", "20KB")
    assert_same(llama, tmp_path / "of file")
    spec = ConvertSpec(source=str(llama), output=str(tmp_path / "gguf"), to="gguf")
    execute(spec, Console.silent())
    result = shard(tmp_path / "gguf/gguf.gguf", tmp_path / "of gguf", "20KB")
    assert_same(llama, tmp_path / "of gguf")
    assert len(result.files) > 3 and "tokenizer.json" in result.companions


def test_sources_and_sizes_that_are_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        ShardSpec(source=str(llama), output="x", shard_size="5XB")
    (llama / "config.json").unlink()
    with pytest.raises(WorkError, match=r"has no config\.json"):
        shard(llama, tmp_path / "out", "1GB")
