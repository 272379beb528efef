"""One list of the files beside the weights: fetched, copied and loaded alike, whatever they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import make_tiny_llama
from tests.hub import serving
from tests.tokenizers.folders import files_of, make, marian_files, write
from tests.tokenizers.test_formats import FAMILIES
from tests.tokenizers.texts import NASTY
from tfcli.average.spec import AverageSpec
from tfcli.checkpoints.beside import copy_companions
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.errors import WorkError
from tfcli.hub import resolve
from tfcli.merge.spec import MergeSpec
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute
from tfcli.shard.spec import ShardSpec
from tfcli.tokenizers.files import find_companions, find_vocabulary, left_behind
from tfcli.tokenizers.load import load_tokenizer


def ids_of(folder: Path) -> list[list[list[int]]]:
    """The ids of every text, of both sides where the model translates."""
    sides = (False, True) if (folder / "target.spm").exists() else (False,)
    return [[load_tokenizer(folder, target=side).encode(text) for text in NASTY] for side in sides]


@pytest.mark.parametrize("family", FAMILIES)
def test_any_tokenizer_that_is_fetched_and_copied_gives_the_same_ids(family, tmp_path, monkeypatch):
    served = write(make(tmp_path / "served", family), {"model.safetensors": b"weights"})
    with serving(served, tmp_path, monkeypatch):
        fetched = resolve("org/any")
    target = write(tmp_path / "copy", {"config.json": (served / "config.json").read_bytes()})
    copy_companions(fetched, target)
    assert ids_of(target) == ids_of(served)


@pytest.mark.parametrize("family", ["llama", "llama-3", "t5"])
def test_a_vocabulary_under_a_name_of_its_own_goes_along(family, tmp_path):
    source = make(tmp_path / "a", family)
    (name,) = files_of(family)
    (source / name).rename(source / "my.model")
    target = write(tmp_path / "b", {"config.json": (source / "config.json").read_bytes()})
    assert "my.model" in copy_companions(source, target)
    assert ids_of(target) == ids_of(source)


# All kinds at once

SENTENCES = {  # what sentence-transformers writes
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.Normalize"},
    ],
    "sentence_bert_config.json": {"max_seq_length": 128},
    "config_sentence_transformers.json": {"prompts": {"query": "query: "}},
}
SIDE = {
    "tokenizer_config.json": {"tokenizer_class": "MarianTokenizer"},
    "chat_template.jinja": "{{ messages }}",
    "preprocessor_config.json": {"size": 8},
    "video_preprocessor_config.json": {"size": 8},
    "processor_config.json": {"processor_class": "Own"},
    "generation_config.json": {"eos_token_id": 0},
    **SENTENCES,
}
NESTED = {
    "additional_chat_templates/tool_use.jinja": "{{ tools }}",
    "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}',
    "2_Dense/config.json": '{"in_features": 64}',
}


def everything(folder: Path) -> Path:
    """A small model with companions of every kind."""
    empty = folder.with_name("no tokenizer")
    empty.mkdir()
    make_tiny_llama(folder, empty, vocab_size=640, tie_word_embeddings=False)
    return beside(folder)


def beside(folder: Path) -> Path:
    """Put companions of every kind into a folder, and things that are none."""
    write(folder, {**marian_files(), **SIDE})
    for name, text in NESTED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    dense = PendingTensor.of("linear.weight", torch.ones(4, 64))
    write_safetensors(folder / "2_Dense" / "model.safetensors", [dense])
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_text("the same in another form")
    (folder / "9_Mine").mkdir()
    (folder / "9_Mine" / "config.json").write_text("{}")  # modules.json does not name it
    (folder / "modeling_own.py").write_text("raise SystemExit")
    return folder


COMPANIONS = {*marian_files(), *SIDE, *NESTED, "2_Dense/model.safetensors"}


def adapter(folder: Path) -> Path:
    """An adapter of one linear of `everything`."""
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{name}.lora_A.weight": torch.ones(2, 64),
        f"{name}.lora_B.weight": torch.ones(64, 2),
    }
    folder.mkdir()
    pending = [PendingTensor.of(name, tensor) for name, tensor in tensors.items()]
    write_safetensors(folder / "adapter_model.safetensors", pending)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def quantized(source: Path, output: Path) -> QuantizeSpec:
    return QuantizeSpec(model=str(source), output=str(output), method="rtn", group_size=32)


def dequantized(source: Path, output: Path) -> DequantizeSpec:
    packed = output.with_name("packed")
    execute(quantized(source, packed), Console.silent())
    return DequantizeSpec(source=str(packed), output=str(output))


VERBS: dict[str, Callable[[Path, Path], object]] = {
    "convert": lambda a, b: ConvertSpec(source=str(a), output=str(b), dtype="bf16"),
    "quantize": quantized,
    "dequantize": dequantized,
    "shard": lambda a, b: ShardSpec(source=str(a), output=str(b), shard_size="100KB"),
    "average": lambda a, b: AverageSpec(sources=[str(a), str(a)], output=str(b)),
    "merge": lambda a, b: MergeSpec(
        base=str(a), adapter=str(adapter(b.with_name("adapter"))), output=str(b)
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_writes_a_folder_takes_all_companions_along(verb, tmp_path):
    source, output = everything(tmp_path / "in"), tmp_path / "out"
    result = execute(VERBS[verb](source, output), Console.silent()).result
    for name in COMPANIONS:
        assert (output / name).read_bytes() == (source / name).read_bytes(), name
    assert ids_of(output) == ids_of(source)
    assert not any((output / name).exists() for name in ("onnx", "9_Mine", "modeling_own.py"))
    if verb in ("convert", "shard"):
        assert result.left_out == ["9_Mine", "modeling_own.py", "onnx"]
        assert set(result.companions) == COMPANIONS


def test_a_fetch_has_all_companions_and_nothing_else(tmp_path, monkeypatch):
    served = beside(
        write(tmp_path / "served", {"config.json": {}, "model.safetensors": b"weights"})
    )
    with serving(served, tmp_path, monkeypatch):
        fetched = resolve("org/any")
    found = {path.relative_to(fetched).as_posix() for path in fetched.rglob("*") if path.is_file()}
    assert found == COMPANIONS | {"config.json", "model.safetensors", "9_Mine/config.json"}
    assert set(find_companions(fetched)) == COMPANIONS  # files of the cache are links into it


def test_what_goes_along_stays_inside_its_folder(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.json").write_text("s")
    (tmp_path / "secret" / "a.jinja").write_text("s")
    for n, (name, to) in enumerate(
        {
            "1_Pooling": "secret",
            "1_Pooling/config.json": "secret/config.json",
            "additional_chat_templates": "secret",
            "source.spm": "secret/a.jinja",
            "my.model": "secret/a.jinja",
        }.items()
    ):
        folder = write(tmp_path / str(n), {"modules.json": SENTENCES["modules.json"]})
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(tmp_path / to)
        with pytest.raises(WorkError, match="a place outside its folder"):
            copy_companions(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["../1_Up", "1_a/../../1_Up", "/etc", "1_a\\b"])
def test_modules_cannot_name_a_place_elsewhere(path, tmp_path):
    write(tmp_path / "1_Up", {"config.json": "{}"})
    folder = write(tmp_path / "in", {"modules.json": [{"path": path}]})
    with pytest.raises(WorkError, match="leads outside its folder"):
        find_companions(folder)


@pytest.mark.parametrize("content", ["{", {"a": 1}, [1], "null"])
def test_a_list_of_modules_that_is_none_is_named(content, tmp_path):
    folder = write(tmp_path / "in", {"modules.json": content})
    with pytest.raises(WorkError) as error:
        find_companions(folder)
    assert error.value.where == str(folder / "modules.json")


def test_weights_of_a_module_that_do_not_go_along_are_named(tmp_path, capsys):
    source = everything(tmp_path / "in")
    (source / "2_Dense" / "pytorch_model.bin").write_bytes(b"a pickle")
    result = execute(VERBS["convert"](source, tmp_path / "a"), Console.silent()).result
    assert "2_Dense/pytorch_model.bin" in result.left_out
    for verb in ("quantize", "average"):
        execute(VERBS[verb](source, tmp_path / verb), Console())
        assert "2_Dense/pytorch_model.bin is not taken along" in " ".join(
            capsys.readouterr().err.split()
        )


def test_a_large_file_with_the_ending_of_a_vocabulary_is_another_thing(tmp_path):
    folder = write(tmp_path / "in", {"tokenizer.json": "{}"})
    for name in ("weights.model", "tokenizer.model"):
        with (folder / name).open("wb") as file:
            file.truncate(65 << 20)
        if name == "weights.model":
            assert find_companions(folder) == ["tokenizer.json"]
            assert left_behind(folder, ["tokenizer.json"]) == ["weights.model"]
    with pytest.raises(WorkError, match="67,108,864 at most") as error:
        find_companions(folder)
    assert error.value.where == str(folder / "tokenizer.model")


def test_a_folder_without_a_vocabulary_has_none(tmp_path):
    write(tmp_path, {"vocab.json": "{}", "source.spm": b"", "a.model": b"", "b.model": b""})
    (tmp_path / "vocab.json").unlink()
    assert find_vocabulary(tmp_path) is None
