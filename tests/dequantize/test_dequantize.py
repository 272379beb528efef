"""`tfcli dequantize`: the packed values, exactly, under the names of a dense checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.quantize.test_run import GPT2, LLAMA, MIXTURES
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.dequantize.run import run
from tfcli.dequantize.spec import DequantizeResult, DequantizeSpec
from tfcli.errors import Problem, UsageError, WorkError
from tfcli.models.layouts.gptq import unpack_zeros
from tfcli.models.layouts.mlx import MLXPacking
from tfcli.models.layouts.words import unpack
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.quantize.run import run as run_quantize
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute
from tfcli.recipe.job import Job

Q = "model.layers.0.self_attn.q_proj"


def dequantize(source: Path, output: Path, **options: Any) -> DequantizeResult:
    output.mkdir()
    spec = DequantizeSpec(source=str(source), output=str(output), **options)
    return run(spec, Job(folder=output))


def quantized(folder: Path, settings: dict[str, Any] = LLAMA, **options: Any) -> Path:
    """A dense checkpoint in `<folder>-dense`, rounded to the GPTQ layout in `folder`."""
    dense = folder.with_name(f"{folder.name}-dense")
    save_model(initialize(build(read_config(settings)), 0), dense)
    folder.mkdir()
    options = {"bits": 4, "group_size": 32, "method": "rtn", **options}
    spec = QuantizeSpec(model=str(dense), output=str(folder), **options)
    run_quantize(spec, Job(folder=folder))
    join_files(folder)
    return folder


def join_files(folder: Path) -> None:
    """All weights in one file, as other quantizers write them for small models."""
    source = open_tensors(folder)
    pending = [PendingTensor.of(name, source[name].clone()) for name in source]
    for path in [*folder.glob("model-*.safetensors"), folder / "model.safetensors.index.json"]:
        path.unlink()
    write_safetensors(folder / "model.safetensors", pending)


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Replace tensors of a linear; None removes one."""
    path = folder / "model.safetensors"
    source = open_tensors(path)
    held: dict[str, Any] = {name: source[name].clone() for name in source}
    held |= {f"{Q}.{part}": tensor for part, tensor in tensors.items()}
    write_safetensors(path, [PendingTensor.of(n, t) for n, t in held.items() if t is not None])


def set_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_weight_is_what_its_packed_values_say(
    tmp_path: Path, bits: int, symmetric: bool
) -> None:
    source = quantized(tmp_path / "q", bits=bits, symmetric=symmetric)
    result = dequantize(source, tmp_path / "out", dtype="fp32")
    packed, dense = open_tensors(source), open_tensors(tmp_path / "out")
    version = "gptq" if symmetric else "gptq_v2"
    linears = [name.removesuffix(".qweight") for name in packed if name.endswith(".qweight")]
    for name in linears:
        levels = unpack(packed[f"{name}.qweight"], bits).double()
        zeros = unpack_zeros(packed[f"{name}.qzeros"], bits, version=version).double()
        groups = packed[f"{name}.g_idx"].long()
        weight = (levels - zeros[groups]) * packed[f"{name}.scales"].double()[groups]
        assert torch.equal(dense[f"{name}.weight"].double(), weight.t())
    assert result.dequantized == len(linears)
    assert result.verified == len(dense) == len(result.tensors)
    assert {t.bits[0] for t in result.tensors if t.action == "dequantized"} == {bits}
    assert set(dense) == set(open_tensors(tmp_path / "q-dense"))


@pytest.mark.parametrize(
    "settings", [LLAMA, GPT2, *MIXTURES.values()], ids=lambda s: s["model_type"]
)
def test_the_dense_model_answers_as_the_packed_one(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    source = quantized(tmp_path / "q", settings)
    dequantize(source, tmp_path / "out", dtype="fp32")
    before, after = open_tensors(tmp_path / "q-dense"), open_tensors(tmp_path / "out")
    assert {i.name: i.shape for i in after.infos()} == {i.name: i.shape for i in before.infos()}
    ids = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        wanted = load_model(source, dtype=torch.float32)(ids).logits
        assert torch.allclose(load_model(tmp_path / "out")(ids).logits, wanted, atol=1e-4)


def test_a_stack_does_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q", MIXTURES["gpt_oss"])
    wanted = open_tensors(_out(source, tmp_path / "one"))
    held = open_tensors(source)
    pending = [PendingTensor.of(name, held[name].clone()) for name in reversed(held.names)]
    write_safetensors(source / "model.safetensors", pending)
    found = open_tensors(_out(source, tmp_path / "other"))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_types(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q")
    exact = open_tensors(_out(source, tmp_path / "fp32", dtype="fp32"))
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        result = dequantize(source, tmp_path / name, dtype=name)
        found = open_tensors(tmp_path / name)
        assert all(torch.equal(found[key], exact[key].to(dtype)) for key in exact)
        assert result.converted > 0
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["dtype"] == str(dtype).removeprefix("torch.")
    result = dequantize(source, tmp_path / "own")  # the config names float32
    assert (result.converted, result.bytes) == (0, exact.nbytes)


def test_without_a_type_in_the_config_it_is_bf16(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q")
    config = json.loads((source / "config.json").read_text())
    plain = {key: value for key, value in config.items() if "dtype" not in key}
    (source / "config.json").write_text(json.dumps(plain))
    found = open_tensors(_out(source, tmp_path / "out"))
    assert found.info(f"{Q}.weight").dtype == "BF16"
    assert found.info("model.norm.weight").dtype == "F32"


def test_the_config_says_that_it_is_dense(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q")
    for name in ("tokenizer.json", "quantize_config.json"):
        (source / name).write_text("{}")
    result = dequantize(source, tmp_path / "out")
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())
    assert result.companions == ["tokenizer.json"]
    assert not (tmp_path / "out/quantize_config.json").exists()


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_convert_gives_the_same_where_a_type_is_asked_for(tmp_path: Path, to: str) -> None:
    source = quantized(tmp_path / "q")
    (source / "quantize_config.json").write_text("{}")
    dequantize(source, tmp_path / "one", dtype="bf16")
    out = tmp_path / "two"
    spec = ConvertSpec(source=str(source), output=str(out), to=to, dtype="bf16")
    execute(spec, Console.silent())
    wanted, found = open_checkpoint(tmp_path / "one"), open_checkpoint(out)
    assert wanted.tensors.keys() == found.tensors.keys()
    for name in wanted.tensors:
        one, two = wanted.weights[name], found.weights[name]
        assert torch.equal(one.float(), two.float()), name
    assert not (out / "quantize_config.json").exists()


def test_linears_that_were_skipped_are_kept(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q", exclude=["down_proj"])
    result = dequantize(source, tmp_path / "out")
    dense, out = open_tensors(tmp_path / "q-dense"), open_tensors(tmp_path / "out")
    kept = [t.name for t in result.tensors if t.action == "copied" and "down_proj" in t.name]
    assert len(kept) == 2
    assert all(torch.equal(out[name], dense[name]) for name in kept)


def test_groups_in_any_order_and_without_an_index(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q")
    plain = open_tensors(_out(source, tmp_path / "plain"))[f"{Q}.weight"].clone()
    change(source, g_idx=None)
    assert torch.equal(open_tensors(_out(source, tmp_path / "no"))[f"{Q}.weight"], plain)
    mixed = torch.arange(64, dtype=torch.int32) % 2
    change(source, g_idx=mixed)
    found = open_tensors(_out(source, tmp_path / "mixed"))[f"{Q}.weight"]
    scales = open_tensors(source)[f"{Q}.scales"].float()
    columns = torch.arange(64) // 32
    expected = plain / scales[columns].t() * scales[mixed.long()].t()
    assert torch.allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "config", "says"),
    [
        ({"scales": None}, {}, "scales' is missing"),
        ({"qzeros": torch.zeros(1, 8, dtype=torch.int32)}, {}, r"qzeros' is .* by the config"),
        ({"scales": torch.zeros(2, 64, dtype=torch.int32)}, {}, r"scales' is torch.int32"),
        ({"scales": torch.full((2, 64), float("nan")).half()}, {}, "a scale is not finite"),
        ({"g_idx": torch.full((64,), 9, dtype=torch.int32)}, {}, "a group is outside"),
        ({"qweight": torch.zeros(8, dtype=torch.int32)}, {}, "is no packed matrix"),
        ({"weight": torch.zeros(64, 64)}, {}, "is there packed and dense"),
        ({}, {"quant_method": "vptq"}, "quant_method: 'vptq' is not supported"),
        ({}, {"bits": 5}, "bits: 5 is not supported"),
        ({}, {"dynamic": {"-:.*q_proj": {}}}, "is packed, and the config says that it is not"),
    ],
)
def test_what_does_not_fit_together(
    tmp_path: Path, tensors: dict[str, Any], config: dict[str, Any], says: str
) -> None:
    source = quantized(tmp_path / "q")
    change(source, **tensors)
    set_config(source, **config)
    with pytest.raises(Problem, match=says):
        dequantize(source, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_weight_beyond_fp16(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q")
    change(source, scales=torch.full((2, 64), 60_000.0).half())
    dequantize(source, tmp_path / "bf16", dtype="bf16")
    with pytest.raises(WorkError, match="is too large for float16"):
        dequantize(source, tmp_path / "fp16", dtype="fp16")


def test_dense_checkpoints_are_refused(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q")
    with pytest.raises(UsageError, match="is dense already"):
        dequantize(tmp_path / "q-dense", tmp_path / "a")
    config = (source / "config.json").read_text()
    (tmp_path / "q-dense/config.json").write_text(config)
    with pytest.raises(WorkError, match="says that weights are packed, and none is"):
        dequantize(tmp_path / "q-dense", tmp_path / "b")


def test_the_card_and_files_of_a_size(tmp_path: Path) -> None:
    source = quantized(tmp_path / "q")
    spec = DequantizeSpec(source=str(source), output=str(tmp_path / "out"), shard_size="20KB")
    result = execute(spec, Console.silent()).result
    assert isinstance(result, DequantizeResult)
    assert len(result.files) > 3
    card = (tmp_path / "out/README.md").read_text()
    inputs = json.loads((tmp_path / "out/run.json").read_text())["inputs"]
    assert inputs[str(source)] in card
    assert f"{result.dequantized} dequantized from 4 bits" in card
    assert str(tmp_path) not in card


def _out(source: Path, output: Path, **options: Any) -> Path:
    dequantize(source, output, **options)
    return output


def test_a_folder_of_mlx_comes_out_exactly(tmp_path: Path) -> None:
    """A model that runs gets its weights in the type of their scales, which rounds them."""
    folder = quantized(tmp_path / "q", LLAMA, layout="mlx")
    done = dequantize(folder, tmp_path / "out", dtype="float32")
    stored, dense = open_tensors(folder), open_tensors(tmp_path / "out")
    packing = MLXPacking(4, 32)
    parts = {part: stored[f"{Q}.{part}"] for part in packing.parts(32, 32)}
    assert torch.equal(dense[f"{Q}.weight"], packing.unpack(parts).dequantize())
    assert not torch.equal(
        dense[f"{Q}.weight"], open_checkpoint(folder).tensors[f"{Q}.weight"].read().float()
    )
    assert done.dequantized == 14
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert not {"quantization", "quantization_config"} & config.keys()
