"""`tfcli inspect` on containers beside Hugging Face's: as stored, with a config and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from tests.checkpoints.dcp.test_dcp import saved
from tests.checkpoints.gguf import files, folders
from tests.checkpoints.megatron.test_megatron import folder as megatron_folder
from tests.checkpoints.meta.test_meta import PARAMS, weights
from tests.checkpoints.meta.test_meta import folder as meta_folder
from tests.checkpoints.mlx.test_mlx import folder as mlx_folder
from tests.checkpoints.mlx.test_mlx import quantized
from tests.checkpoints.models import LLAMA, tiny
from tests.checkpoints.original.test_original import save_google
from tests.checkpoints.original.test_original import tiny as tiny_gemma
from tests.checkpoints.zero.test_zero import step
from tests.commands.test_app import modules_after
from tests.flagai.folders import divide_into_ranks, make, stored, write
from tfcli.checkpoints.folder import save_model
from tfcli.convert.run import run as convert
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.flagai import models
from tfcli.inspect.gguf import FILE_TYPES
from tfcli.inspect.run import run
from tfcli.inspect.spec import InspectResult, InspectSpec
from tfcli.recipe.job import Job

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def inspect(path: Path, config_from: Path | None = None) -> InspectResult:
    config = None if config_from is None else str(config_from)
    return run(InspectSpec(path=str(path), config_from=config), Job())


def shapes(found: InspectResult) -> dict[str, list[int]]:
    return {tensor.name: tensor.shape for tensor in found.tensors}


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    save_model(tiny(), tmp_path / "hf")
    return tmp_path / "hf"


@pytest.fixture
def q8(tmp_path: Path) -> Path:
    folders.write_folder(tmp_path / "plain", "llama-3")
    (tmp_path / "q8").mkdir()
    spec = ConvertSpec(
        source=str(tmp_path / "plain"), output=str(tmp_path / "q8"), to="gguf", dtype="q8_0"
    )
    convert(spec, Job(folder=tmp_path / "q8"))
    return next((tmp_path / "q8").glob("*.gguf"))


def test_gguf(q8: Path) -> None:
    found = inspect(q8)
    assert (found.kind, found.model_type, found.task) == ("gguf", "llama", "causal-lm")
    assert found.gguf is not None and found.quantization is not None
    assert found.gguf.types == {"Q8_0": 16, "F32": 6}  # rope_freqs too
    facts = (found.gguf.architecture, found.gguf.file_type, found.gguf.context_length)
    assert facts == ("llama", "Q8_0", 128)
    assert (found.gguf.tokenizer, found.gguf.pre_tokenizer) == ("gpt2", "gpt-2")
    assert (found.tokenizer.type, found.tokenizer.vocab_size) == ("BPE", 320)  # type: ignore[union-attr]
    assert (found.quantization.method, found.quantization.settings) == ("gguf", {"Q8_0": 16})
    lines = {tensor.name: tensor for tensor in found.tensors}
    up = lines["blk.1.ffn_up.weight"]
    assert (up.dtype, up.shape, up.bytes) == ("Q8_0", [96, 64], 96 * 64 // 32 * 34)
    assert found.parameters == inspect(q8.parents[1] / "plain").parameters
    assert not found.chat_template
    assert inspect(q8.parent).model_copy(update={"path": found.path}) == found


def test_gguf_of_another_program(q8: Path, tmp_path: Path) -> None:
    plain = files.rewrite(
        q8,
        tmp_path / "a.gguf",
        "tfcli",
        {"tokenizer.chat_template": files.Value("string", "{{x}}")},
    )
    found = inspect(plain)
    assert (found.model_type, found.chat_template) == ("llama", True)
    assert found.memory.context == 128
    odd = files.rewrite(q8, tmp_path / "b.gguf", "tfcli|general.architecture")
    found = inspect(odd)
    assert (found.model_type, found.memory.run) == (None, None)
    assert "general.architecture" in str(found.problem)
    assert len(found.tensors) == 22


def test_several_gguf_files_are_a_question(q8: Path) -> None:
    shutil.copy(q8, q8.with_name("other.gguf"))
    with pytest.raises(UsageError, match=r"2 models as GGUF: other\.gguf, q8\.gguf"):
        inspect(q8.parent)


def test_names_of_gguf_file_types() -> None:
    theirs = {kind.value: kind.name.partition("_")[2] for kind in gguf.LlamaFileType}
    assert {number: theirs[number] for number in FILE_TYPES} == FILE_TYPES


@pytest.mark.parametrize("parts", [1, 2])
def test_meta(tmp_path: Path, parts: int) -> None:
    found = inspect(meta_folder(tmp_path / "in", parts=parts))
    assert (found.kind, found.model_type, found.task) == ("meta", "llama", "causal-lm")
    wq = next(t for t in found.tensors if t.name == "layers.0.attention.wq.weight")
    assert (wq.parts, wq.shape, wq.bytes) == (parts, [32 // parts, 32], 32 * 32 * 4)
    assert len(found.files) == parts
    assert "rope.freqs" in shapes(found)
    elements = sum(t.numel() for t in weights(PARAMS).values())
    assert found.parameters == elements - 4  # without rope.freqs
    assert found.beside == {"rope.freqs": "rotary frequencies, computed from rope_theta"}


def test_original(tmp_path: Path) -> None:
    model = tiny_gemma("gemma")
    source = save_google(model, tmp_path / "in")
    found = inspect(source)
    assert (found.kind, found.model_type) == ("original", "gemma")
    assert "embedder.weight" in shapes(found)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (found.parameters, found.parameters_counted) == (count, "logical")
    assert inspect(source / "model.ckpt").tensors == found.tensors
    (source / "config.json").unlink()
    bare = inspect(source)
    assert (bare.kind, bare.parameters_counted) == ("original", "stored")
    assert "config_from" in str(bare.problem)
    assert bare.tensors == found.tensors


def test_dcp(tmp_path: Path, llama: Path) -> None:
    state = {"model": tiny().state_dict(), "optimizer": {"a": torch.ones(3)}, "step": 3}
    source = saved(tmp_path / "a/dcp", state)
    (source / "config.json").unlink()
    bare = inspect(source)
    assert (bare.kind, bare.model_type, bare.task) == ("dcp", None, None)
    assert "config_from" in str(bare.problem)
    assert shapes(bare)["model.model.norm.weight"] == [32]
    assert bare.parameters_counted == "stored"
    assert bare.beside["optimizer"] == "state of the training, 1 items"
    named = inspect(source, llama)
    assert (named.model_type, named.task) == ("llama", "causal-lm")
    assert named.parameters == bare.parameters == inspect(llama).parameters
    shutil.copy(llama / "config.json", source.parent)  # one folder up
    assert inspect(source).model_type == "llama"


def test_a_tied_tensor_that_a_trainer_saved_twice_counts_once(tmp_path: Path) -> None:
    model = tiny(tie_word_embeddings=True)
    save_model(model, tmp_path / "hf")
    found = inspect(saved(tmp_path / "dcp", {"model": model.state_dict()}), tmp_path / "hf")
    assert "model.lm_head.weight" in shapes(found)
    assert found.parameters == inspect(tmp_path / "hf").parameters


@pytest.mark.parametrize("stage", [2, 3])
def test_zero(tmp_path: Path, stage: int) -> None:
    source = step(tmp_path / "in", stage)
    (source / "config.json").unlink()
    found = inspect(source)
    assert (found.kind, found.parameters_counted) == ("zero", "stored")
    assert shapes(found)["a.weight"] == [3, 5]
    assert found.dtypes["F32"] == 15 + 16 + 7 + 15  # e.weight is a.weight
    assert "optimizer_state_dict" in found.beside


def test_megatron(tmp_path: Path) -> None:
    source = megatron_folder(tmp_path, "llama", 2, 3.0)
    bare = inspect(source)
    assert (bare.kind, bare.parameters_counted, bare.task) == ("megatron", "stored", None)
    name = "encoder.layers.0.mlp.dense_4h_to_h.weight"
    line = next(t for t in bare.tensors if t.name.endswith(name))
    assert (line.parts, line.shape, line.bytes) == (2, [32, 24], 32 * 48 * 4)
    named = inspect(source, tmp_path / "hf")
    assert named.tensors == bare.tensors
    assert (named.task, named.parameters_counted) == ("causal-lm", "logical")
    assert named.parameters == inspect(tmp_path / "hf").parameters < bare.parameters


def test_mlx(tmp_path: Path) -> None:
    parts = quantized(4)
    found = inspect(mlx_folder(tmp_path / "in", parts, {"bits": 4, "group_size": 32}))
    assert found.kind == "mlx" and found.quantization is not None
    assert (found.quantization.bits, found.quantization.group_size) == (4, 32)
    assert found.parameters == parts["dense"].numel() + 3
    assert {t.name: t.dtype for t in found.tensors}["a.weight"] == "U32"


def test_flagai(tmp_path: Path) -> None:
    model = make(models.GPT2Model)
    write(tmp_path / "in", model)
    found = inspect(tmp_path / "in")
    assert (found.kind, found.model_type, found.task) == ("flagai", "gpt2", "causal-lm")
    assert found.parameters == sum(p.numel() for p in model.core.parameters())
    assert shapes(found) == {n: list(t.shape) for n, t in stored(tmp_path / "in").items()}
    divide_into_ranks(tmp_path / "in", "gpt2", 2)
    ranks = inspect(tmp_path / "in")
    assert ranks.parameters == found.parameters
    wte = next(t for t in ranks.tensors if t.name.endswith("wte.weight"))
    assert wte.parts == 2 and wte.shape[0] < 61


def test_pickles(tmp_path: Path, llama: Path) -> None:
    state = tiny().state_dict()
    torch.save({"model": state, "optimizer": {"lr": 0.1}}, tmp_path / "last.pt")
    found = inspect(tmp_path / "last.pt", llama)
    assert (found.kind, found.task) == ("torch", "causal-lm")
    assert found.beside == {"optimizer": "dict of 1"}
    assert set(shapes(found)) == set(state)
    assert inspect(tmp_path / "last.pt").task is None
    (tmp_path / "bare").mkdir()
    shutil.copy(llama / "model.safetensors", tmp_path / "bare")
    assert inspect(tmp_path / "bare", llama).task == "causal-lm"


def test_a_config_where_there_is_one_already(q8: Path, llama: Path, tmp_path: Path) -> None:
    for path in (q8, llama):
        with pytest.raises(UsageError, match="brings its own config"):
            inspect(path, llama)
    with pytest.raises(WorkError, match=r"has no config\.json"):
        inspect(llama / "model.safetensors", tmp_path)


def sparse(folder: Path, shapes: dict[str, tuple[int, ...]], config: dict[str, Any]) -> Path:
    """Weights that are a hole in a file."""
    folder.mkdir()
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_decoder_is_described_without_torch(tmp_path: Path, q8: Path) -> None:
    names = {name: tuple(p.shape) for name, p in tiny().named_parameters()}
    large = {**names, "model.embed_tokens.weight": (2**27, 32), "lm_head.weight": (2**27, 32)}
    source = sparse(tmp_path / "large", large, LLAMA)
    for path in (source, q8):
        assert not modules_after("inspect", str(path)) & {"torch", "numpy", "huggingface_hub"}
