"""Which GGUF file a path means, and what comes of it without asking for more."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.gguf.convert import from_gguf, to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import write_folder
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute


@pytest.fixture
def file(tmp_path):
    write_folder(tmp_path / "hf", "llama")
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    return tmp_path / "model.gguf"


def convert(source, output, **options):
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    return execute(spec, Console.silent()).result


def test_a_repository_of_gguf_files_with_the_originals_config_is_read_as_gguf(file, tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    shutil.copy(file, repository / "model.Q8_0.gguf")
    (repository / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (repository / "README.md").write_text("# A model")
    found = open_checkpoint(repository)
    assert found.container == "gguf" and found.config["num_hidden_layers"] == 2


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_other_weights_beside_a_config_come_before_a_gguf_file(name, file, tmp_path):
    shutil.copy(file, tmp_path / "hf" / "model.gguf")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "hf" / name)
    assert find_container(tmp_path / "hf").name != "gguf"


def test_a_folder_of_several_models_names_them(file, tmp_path):
    folder = tmp_path / "several"
    folder.mkdir()
    for name in ("a.Q4_0.gguf", "a.Q8_0.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf"):
        shutil.copy(file, folder / name)
    with pytest.raises(UsageError) as caught:
        open_checkpoint(folder)
    said = str(caught.value)
    assert "3 models" in said and "a.Q4_0.gguf, a.Q8_0.gguf, b-0000" in said
    assert str(folder / "a.Q4_0.gguf") in said


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_quantized_weights_become_bfloat16_unless_asked_otherwise(kind, file, tmp_path):
    to_gguf(tmp_path / "hf", tmp_path / "small.gguf", kind)
    plain = rewrite(tmp_path / "small.gguf", tmp_path / "plain.gguf", r"tfcli\.")
    from_gguf(plain, tmp_path / "back")
    tensors = load_file(tmp_path / "back" / "model.safetensors")
    matrices = {tensor.dtype for tensor in tensors.values() if tensor.dim() == 2}
    assert matrices == {torch.bfloat16}
    assert json.loads((tmp_path / "back/config.json").read_text())["dtype"] == "bfloat16"
    convert(plain, tmp_path / "half", dtype="fp16")
    tensors = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_what_goes_along_is_the_same_each_time_and_leaves_the_folder_as_it_is(file, tmp_path):
    opened = open_checkpoint(file)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir(mode=0o755)
        assert opened.carry(folder) == ["tokenizer.json", "tokenizer_config.json"]
        assert folder.stat().st_mode & 0o777 == 0o755
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


@pytest.fixture
def foreign(file, tmp_path):
    """A file whose tokenizer is not covered."""
    change = {"tokenizer.ggml.pre": Value("string", "something-new")}
    return rewrite(file, tmp_path / "foreign.gguf", r"tokenizer\.huggingface", change)


def test_a_tokenizer_that_is_not_covered_is_refused_before_anything_is_written(foreign, tmp_path):
    with pytest.raises(WorkError, match="'something-new' is not covered") as caught:
        convert(foreign, tmp_path / "out")
    assert "--no-tokenizer" in str(caught.value)


def test_no_tokenizer_takes_the_weights_alone(foreign, tmp_path):
    done = convert(foreign, tmp_path / "out", tokenizer=False)
    assert done.companions == [] and not list((tmp_path / "out").glob("tokenizer*"))
    before = load_file(tmp_path / "hf" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("source", ["hf", "model.gguf"])
def test_no_tokenizer_writes_a_gguf_file_that_says_so(source, file, tmp_path):
    convert(tmp_path / source, tmp_path / "out", to="gguf", tokenizer=False)
    found = GGUFFile(tmp_path / "out/out.gguf").metadata
    keys = {key: value for key, value in found.items() if key.startswith("tokenizer.")}
    assert keys == {"tokenizer.ggml.model": "no_vocab"}


def test_an_output_that_looks_like_the_file_is_refused_and_the_folder_named(tmp_path):
    with pytest.raises(ValueError, match=r"with runs/small the file is runs/small/small\.gguf"):
        ConvertSpec(source="hf", output="runs/small.gguf", to="gguf")
    assert ConvertSpec(source="hf", output="runs/small.gguf").target() == "runs/small.gguf"
