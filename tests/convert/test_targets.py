"""`--to`: what is written is read again by the converter itself, and is what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.models import GPT2, LLAMA, tiny
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import UsageError
from tfcli.recipe.execute import execute


@pytest.fixture
def llama(tmp_path: Path, tiny_tokenizer: Path) -> Path:
    model = tiny(
        LLAMA
        | {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2}
    )
    save_model(model, tmp_path / "in", tokenizer_from=tiny_tokenizer)
    return tmp_path / "in"


def convert(source: Path, output: Path, **keys: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **keys)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


@pytest.mark.parametrize("to", ["pt", "meta", "gguf"])
def test_there_and_back_is_bit_for_bit(llama, tmp_path, to):
    there = convert(llama, tmp_path / "there", to=to)
    assert there.verified > 0 and there.files
    kind = {"pt": "hf"}.get(to, to)
    assert find_container(tmp_path / "there").name == kind
    back = convert(tmp_path / "there", tmp_path / "back")
    assert back.kind == kind
    before, after = open_tensors(llama), open_tensors(tmp_path / "back")
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    if to != "meta":  # which has no place for a tokenizer.json that no tokenizer.model lies beside
        assert (tmp_path / "back/tokenizer.json").exists()


def test_gguf_types_and_patterns(llama, tmp_path):
    result = convert(
        llama, tmp_path / "out", to="gguf", dtype="q8_0", tensor_type=["ffn_down=q4_0"]
    )
    types = {tensor.name: tensor.dtype for tensor in result.tensors}
    assert types["blk.0.ffn_down.weight"] == "Q4_0"
    assert types["blk.0.attn_q.weight"] == "Q8_0"
    assert result.files == ["out.gguf"]
    assert 0 < result.largest_error < 1
    view = open_checkpoint(tmp_path / "out/out.gguf")
    assert view.tensors["model.layers.0.self_attn.q_proj.weight"].how.startswith("Q8_0 dequantized")


def test_a_dry_run_to_gguf_writes_nothing(llama, tmp_path):
    spec = ConvertSpec(source=str(llama), to="gguf", dtype="q8_0", dry_run=True)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    assert result.dry_run and (result.converted, result.copied, result.made) == (12, 5, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_keys_of_gguf_alone(llama, tmp_path):
    with pytest.raises(ValueError, match="dtype q8_0 is GGUF's"):
        ConvertSpec(source=str(llama), output="out", dtype="q8_0")
    with pytest.raises(ValueError, match="tensor_type has no effect with to: "):
        ConvertSpec(source=str(llama), output="out", tensor_type=["a=q8_0"])
    with pytest.raises(UsageError, match="is not PATTERN=TYPE"):
        convert(llama, tmp_path / "out", to="gguf", tensor_type=["a"])


@pytest.mark.parametrize("to", ["meta", "megatron", "flagai"])
def test_parts_that_do_not_divide_are_found_in_a_dry_run(llama, tmp_path, to):
    gpt2 = tmp_path / "gpt2"
    save_model(tiny(GPT2), gpt2)
    source = gpt2 if to == "flagai" else llama
    spec = ConvertSpec(source=str(source), to=to, parts=3, dry_run=True)
    with pytest.raises(UsageError, match=r"3 parts do not divide|no gpt2 model from several files"):
        execute(spec, Console.silent())


def test_a_dtype_is_made_of_the_quantized_values_themselves(llama, tmp_path, capfd):
    convert(llama, tmp_path / "q", to="gguf", dtype="q8_0")
    file = tmp_path / "q/q.gguf"
    spec = ConvertSpec(source=str(file), output=str(tmp_path / "back"), dtype="fp32")
    execute(spec, Console())
    quantized = [n for n, i in GGUFFile(file).tensors.items() if i.dtype == "Q8_0"]
    assert f"{len(quantized)} tensors: Q8_0 dequantized" in capfd.readouterr().err
    name = "model.layers.0.mlp.down_proj.weight"
    exact = GGUFFile(file).dequantize("blk.0.ffn_down.weight")
    assert not torch.equal(exact.half().float(), exact)  # fp16 on the way would show
    assert torch.equal(open_tensors(tmp_path / "back")[name], exact)
