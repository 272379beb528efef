"""`tfcli convert`: every tensor accounted for, cast right, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.checkpoints.models import BERT, GPT2, LLAMA, tiny, tokens
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.plan import make_plan
from tfcli.checkpoints.verify import verify
from tfcli.console import Console
from tfcli.convert.containers import with_dtype
from tfcli.convert.run import run
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute
from tfcli.recipe.job import Job


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    output.mkdir()
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    return run(spec, Job(folder=output))


def checkpoint(folder: Path, config: dict[str, Any] | None = None, **tensors: torch.Tensor) -> Path:
    """A folder with these tensors, in the order given by their types' widths."""
    folder.mkdir()
    pending = [PendingTensor.of(name.replace("__", "."), t) for name, t in tensors.items()]
    write_safetensors(folder / "model.safetensors", pending)
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "other"}))
    return folder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    folder = tmp_path / "llama"
    save_model(tiny(LLAMA), folder)
    (folder / "tokenizer.json").write_text('{"model": {}}')
    (folder / "modeling_llama.py").write_text("raise SystemExit")
    return folder


def test_cast_and_shards(llama: Path, tmp_path: Path) -> None:
    result = convert(llama, tmp_path / "out", dtype="bf16", shard_size="10KB")
    before, after = open_tensors(llama), open_tensors(tmp_path / "out")
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name].bfloat16()) for name in before)
    assert len(result.files) == len(after.files) > 1
    assert (result.converted, result.copied, result.tied) == (len(before), 0, 0)
    assert result.verified == len(before)
    assert result.source_bytes == (llama / "model.safetensors").stat().st_size
    assert result.bytes == before.nbytes // 2
    assert [t.name for t in result.tensors] == list(before)
    assert {(t.action, t.source_dtype, t.dtype) for t in result.tensors} == {
        ("converted", "F32", "BF16")
    }


def test_companions_are_carried_over_and_code_is_not(llama: Path, tmp_path: Path) -> None:
    result = convert(llama, tmp_path / "out")
    assert result.companions == ["tokenizer.json"]
    assert result.left_out == ["modeling_llama.py"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_without_options_everything_is_the_same(llama: Path, tmp_path: Path) -> None:
    result = convert(llama, tmp_path / "out")
    before, after = open_tensors(llama), open_tensors(tmp_path / "out")
    assert list(before) == list(after)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert result.copied == len(before)
    assert json.loads((tmp_path / "out/config.json").read_text()) == json.loads(
        (llama / "config.json").read_text()
    )


@pytest.mark.interop
def test_transformers_loads_the_result_with_our_logits(llama: Path, tmp_path: Path) -> None:
    convert(llama, tmp_path / "out", dtype="bf16", shard_size=10_000)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values())
    assert theirs.dtype == torch.bfloat16
    ours = load_model(tmp_path / "out")
    with torch.no_grad():
        assert torch.allclose(theirs(tokens()).logits, ours(tokens()).logits, atol=2e-2)


def test_there_and_back_gives_the_first_file(tmp_path: Path) -> None:
    save_model(tiny(LLAMA, dtype=torch.bfloat16), tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b", dtype="fp32", shard_size="10KB")
    convert(tmp_path / "b", tmp_path / "c", dtype="bf16")
    first, last = (tmp_path / name / "model.safetensors" for name in "ac")
    assert set(SafetensorsFile(first).tensors) == set(SafetensorsFile(last).tensors)
    one, other = open_tensors(tmp_path / "a"), open_tensors(tmp_path / "c")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_integers_and_booleans_are_not_cast_and_floats_of_every_width_are(tmp_path: Path) -> None:
    source = checkpoint(
        tmp_path / "in",
        ids=torch.arange(3),
        mask=torch.tensor([True, False]),
        eight=torch.ones(2).to(torch.float8_e4m3fn),
        wide=torch.ones(2, dtype=torch.float64),
    )
    result = convert(source, tmp_path / "out", dtype="fp16")
    kinds = {info.name: info.dtype for info in open_tensors(tmp_path / "out").infos()}
    assert kinds == {"ids": "I64", "mask": "BOOL", "eight": "F16", "wide": "F16"}
    assert (result.converted, result.copied) == (2, 2)


def test_what_was_compared_is_said_of_casts_that_round_and_of_those_that_do_not(
    tmp_path: Path,
) -> None:
    source = checkpoint(
        tmp_path / "in", a=torch.ones(2), b=torch.ones(2).half(), ids=torch.arange(3)
    )
    said = {
        kind: convert(source, tmp_path / str(kind), dtype=kind).compared()
        for kind in ("bf16", "fp32", None)
    }
    assert said == {
        "bf16": "read back: 2 each equal to its source rounded to bf16; "
        "1 equal to the source, bit for bit",
        "fp32": "read back: 3 equal to the source in value",
        None: "read back: 3 equal to the source, bit for bit",
    }
    assert said["bf16"] in (tmp_path / "bf16/README.md").read_text()


def test_packed_weights_are_copied_as_they_are_or_the_type_asked_for_is_refused(
    tmp_path: Path,
) -> None:
    """Of packings that cannot be unpacked."""
    source = checkpoint(
        tmp_path / "in",
        {"model_type": "other", "quantization_config": {"quant_method": "vptq"}},
        down__weight__data=torch.ones(4, 1, dtype=torch.uint8),
        down__weight__scale=torch.ones(1),
    )
    convert(source, tmp_path / "out")
    kinds = {info.name: info.dtype for info in open_tensors(tmp_path / "out").infos()}
    assert kinds == {"down.weight.data": "U8", "down.weight.scale": "F32"}
    with pytest.raises(WorkError, match="quant_method: 'vptq' is not supported"):
        convert(source, tmp_path / "cast", dtype="bf16")


def test_a_value_beyond_the_type_is_an_error_that_names_its_tensor(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "in", fine=torch.ones(2), big=torch.tensor([1.0, -70_000.0]))
    with pytest.raises(WorkError, match="'big': 70000 is too large for float16"):
        execute(
            ConvertSpec(source=str(source), output=str(tmp_path / "out"), dtype="fp16"),
            Console.silent(),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_values_that_were_not_finite_before_stay_what_they_were(tmp_path: Path) -> None:
    values = torch.tensor([float("inf"), -float("inf"), float("nan"), 65_504.0])
    source = checkpoint(tmp_path / "in", w=values)
    convert(source, tmp_path / "out", dtype="fp16")
    after = open_tensors(tmp_path / "out")["w"].float()
    assert torch.equal(after.nan_to_num(nan=1.0), values.nan_to_num(nan=1.0))


@pytest.mark.parametrize("settings", [LLAMA, GPT2], ids=lambda s: s["model_type"])
def test_an_equal_tied_tensor_is_written_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = tiny(settings, tie_word_embeddings=True)
    save_model(model, tmp_path / "in")
    path = tmp_path / "in/model.safetensors"
    source = open_tensors(path)
    head = PendingTensor.of("lm_head.weight", model.lm_head.weight.detach())
    write_safetensors(path, [*(PendingTensor.of(n, source[n]) for n in source), head])

    result = convert(tmp_path / "in", tmp_path / "out", dtype="bf16")
    assert result.tied == 1
    account = {t.name: t for t in result.tensors}["lm_head.weight"]
    assert (account.action, account.source_dtype, account.dtype) == ("tied", "F32", "BF16")
    assert set(open_tensors(tmp_path / "out")) == set(source)
    load_model(tmp_path / "out")


def test_texts_in_headers_are_kept(llama: Path, tmp_path: Path) -> None:
    path = llama / "model.safetensors"
    source = open_tensors(llama)
    tensors = [PendingTensor.of(name, source[name].clone()) for name in source]
    write_safetensors(path, tensors, {"format": "pt", "trained on": "wikitext"})
    convert(llama, tmp_path / "out", dtype="bf16")
    written = SafetensorsFile(tmp_path / "out/model.safetensors")
    assert written.metadata == {"format": "pt", "trained on": "wikitext"}


def test_a_diverged_tied_pair_is_written_untied(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tiny(tie_word_embeddings=True)
    save_model(model, tmp_path / "in")
    path = tmp_path / "in/model.safetensors"
    source = open_tensors(path)
    head = PendingTensor.of("lm_head.weight", model.lm_head.weight.detach() * 2)
    write_safetensors(path, [*(PendingTensor.of(n, source[n]) for n in source), head])

    assert convert(tmp_path / "in", tmp_path / "out").tied == 0
    assert "lm_head.weight differs" in capfd.readouterr().err
    again = load_model(tmp_path / "out")
    assert torch.equal(again.lm_head.weight, model.lm_head.weight * 2)


def test_what_a_lost_tie_stood_for_is_written_too(tmp_path: Path) -> None:
    # BERT ties the bias of the decoder as well. Untied, the model asks for both.
    model = tiny({**BERT, "architectures": ["BertForMaskedLM"]})
    save_model(model, tmp_path / "in")
    path = tmp_path / "in/model.safetensors"
    source = open_tensors(path)
    trained = source["bert.embeddings.word_embeddings.weight"] * 2
    head = PendingTensor.of("cls.predictions.decoder.weight", trained)
    write_safetensors(path, [*(PendingTensor.of(n, source[n]) for n in source), head])
    convert(tmp_path / "in", tmp_path / "out")
    again = load_model(tmp_path / "out", task=None).state_dict()
    assert torch.equal(again["cls.predictions.decoder.weight"], trained)
    assert torch.equal(again["cls.predictions.decoder.bias"], again["cls.predictions.bias"])


@pytest.mark.parametrize("damage", ["bit", "dtype", "missing", "surplus", "shape"])
def test_verification_finds_what_is_wrong(llama: Path, tmp_path: Path, damage: str) -> None:
    source = open_tensors(llama)
    tensors = {name: source[name].clone() for name in source}
    name = "model.norm.weight"
    if damage == "bit":
        tensors[name].view(torch.int32)[3] ^= 1
    elif damage == "dtype":
        tensors[name] = tensors[name].view(torch.int32)
    elif damage == "missing":
        del tensors[name]
    elif damage == "surplus":
        tensors["extra"] = torch.ones(1)
    else:
        tensors[name] = tensors[name].reshape(2, -1)
    copy = checkpoint(tmp_path / "copy", **tensors)
    named = "extra" if damage == "surplus" else name
    plan = make_plan(open_checkpoint(llama), None)
    with Console.silent().progress("", 1) as bar, pytest.raises(WorkError, match=named):
        verify(plan, open_checkpoint(copy), bar)


def test_a_dry_run_reads_headers_and_writes_nothing(llama: Path, tmp_path: Path) -> None:
    spec = ConvertSpec(source=str(llama), dtype="bf16", dry_run=True)
    outcome = execute(spec, Console.silent())
    result = outcome.result
    assert isinstance(result, ConvertResult)
    assert result.dry_run and not result.files and result.verified == 0
    done = convert(llama, tmp_path / "out", dtype="bf16")
    assert result.tensors == done.tensors
    assert (result.bytes, result.converted) == (done.bytes, done.converted)
    assert result.peak_bytes > max(t.bytes for t in result.tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama", "out"]


def test_the_card_says_where_it_came_from(llama: Path, tmp_path: Path) -> None:
    spec = ConvertSpec(source=str(llama), output=str(tmp_path / "out"), dtype="bf16")
    outcome = execute(spec, Console.silent())
    card = (tmp_path / "out/README.md").read_text()
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["inputs"][str(llama)] in card
    assert "F32 to BF16" in card and "`llama` (hf)" in card
    count = outcome.result.model_dump()["verified"]
    assert f"| verified | read back: {count} each equal to its source rounded to bf16 |" in card
    assert str(tmp_path) not in card


def test_only_a_dry_run_does_without_an_output(llama: Path) -> None:
    with pytest.raises(ValueError, match="output is missing"):
        ConvertSpec(source=str(llama))


def test_dtype_keys_of_the_config() -> None:
    config = {
        "torch_dtype": "float32",
        "text_config": {"dtype": "float32", "hidden_size": 8},
        "quantization_config": {"dtype": "int4"},
    }
    assert with_dtype(config, "BF16") == {
        "torch_dtype": "bfloat16",
        "text_config": {"dtype": "bfloat16", "hidden_size": 8},
        "quantization_config": {"dtype": "int4"},
    }
    assert with_dtype({"hidden_size": 8}, "F16") == {"hidden_size": 8, "dtype": "float16"}
    assert with_dtype(config, None) == config


def test_sources_that_cannot_be_converted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        convert(tmp_path / "gone", tmp_path / "a")
    with pytest.raises(WorkError, match=r"has no config\.json"):
        convert(tmp_path, tmp_path / "b")
    write_safetensors(tmp_path / "x.safetensors", [])
    with pytest.raises(WorkError, match=r"has no config\.json"):
        convert(tmp_path / "x.safetensors", tmp_path / "c")


@pytest.mark.parametrize("size", ["5XB", "0", "-1", ""])
def test_a_shard_size_that_is_none(size: str) -> None:
    with pytest.raises(ValueError, match="shard_size"):
        ConvertSpec(source="a", output="b", shard_size=size)
