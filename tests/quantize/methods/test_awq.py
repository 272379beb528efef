"""AWQ from a checkpoint to a folder that runs here and in transformers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import SENTENCES
from tests.models.tiny import tiny_model
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.console import Console
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.errors import UsageError
from tfcli.models.errors import ModelError
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.awq import AWQPacking
from tfcli.models.quantized import packed_linears
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute
from tfcli.recipe.job import Job

PYTHON = Path(__file__).parents[3] / ".gptqmodel/bin/python"
IDS = torch.arange(24)[None]


def quantize(model, out, **given):
    options = {"method": "awq", "group_size": 32, **given}
    if options["method"] != "rtn":
        text = model.parent / "text.txt"
        text.write_text(" ".join(SENTENCES * 40))
        options |= {"data": str(text), "samples": 24, "sequence_length": 32}
    spec = QuantizeSpec(model=str(model), output=str(out), **options)
    return execute(spec, Console.silent()).result


def tensors(folder):
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def change(before, after):
    """How far logits are from others, as a share of these."""
    ours, theirs = logits(before), logits(after)
    return ((theirs - ours).norm() / ours.norm()).item()


def logits(folder):
    with torch.no_grad():
        return load_model(folder).float()(IDS).logits


@pytest.fixture(scope="module")
def dense(tmp_path_factory, tiny_tokenizer):
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    model = tiny_model("llama", vocab_size=320, num_key_value_heads=2, **sizes)
    for block in model.blocks:  # a few inputs are far larger than the others
        block.input_layernorm.weight.data[::9] *= 8
        block.post_attention_layernorm.weight.data[::7] *= 8
    folder = tmp_path_factory.mktemp("dense") / "model"
    save_model(model.to(torch.bfloat16), folder, tokenizer_from=tiny_tokenizer)
    return folder


@pytest.fixture(scope="module")
def awq(dense, tmp_path_factory):
    out = tmp_path_factory.mktemp("awq") / "q"
    return out, quantize(dense, out, symmetric=False)


def test_linears_are_packed_and_norms_changed(dense, awq):
    out, result = awq
    before, after = tensors(dense), tensors(out)
    assert result.layout == "awq"
    assert result.mean_output_error < 0.02
    norms = [name for name in before if "layernorm" in name]
    changed = [name for name in norms if not torch.equal(before[name], after[name])]
    assert changed
    assert all(after[name].dtype == before[name].dtype for name in norms)
    told = {t.name for t in result.tensors if t.reason == "not a linear, with factors"}
    assert told == set(changed)
    model = load_model(out)
    packed = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
    assert len(packed) == result.quantized
    assert all(m.packing == AWQPacking(32) for m in packed)


def test_outputs_change_less_than_by_rounding(dense, awq, tmp_path):
    quantize(dense, tmp_path / "rtn", method="rtn", symmetric=False)
    assert change(dense, awq[0]) < 0.95 * change(dense, tmp_path / "rtn")


def test_without_its_norms_the_file_is_another_model(dense, awq, tmp_path):
    """The factors in the weights are those that the norms were divided by."""
    model, plain = load_model(awq[0]).float(), load_model(dense).float()
    with torch.no_grad():
        right = model(IDS).logits
        for name, value in plain.named_parameters():
            if "layernorm" in name:
                model.get_parameter(name).data = value.data
        wrong = model(IDS).logits
    exact = logits(dense)
    assert (wrong - exact).norm() > 1.2 * (right - exact).norm()


def test_dequantize_gives_the_same_model(awq, tmp_path):
    out = tmp_path / "d"
    spec = DequantizeSpec(source=str(awq[0]), output=str(out), dtype="float32")
    execute(spec, Console.silent())
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    torch.testing.assert_close(logits(out), logits(awq[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [3, 8])
def test_bits_that_the_layout_cannot_hold_go_into_gptqs(dense, tmp_path, bits):
    result = quantize(dense, tmp_path / "q", bits=bits)
    quantize(dense, tmp_path / "rtn", method="rtn", bits=bits)
    assert result.layout == "gptq"
    assert change(dense, tmp_path / "q") < 0.95 * change(dense, tmp_path / "rtn")


@pytest.mark.parametrize("layout", [None, "gptq", "compressed-tensors"])
def test_linears_can_have_bits_and_groups_of_their_own(dense, tmp_path, layout):
    """Also those that share a norm, and so their factors."""
    overrides = ["down_proj=8bit", r"layers\.0\..*k_proj=4bit:64", "gate_proj=3bit:16"]
    given = {"overrides": overrides, "layout": layout}
    result = quantize(dense, tmp_path / "q", **given)
    assert result.layout == layout or (layout is None and result.layout == "gptq")
    widths = {o.name: (o.bits, o.group_size) for o in result.tensors if o.outcome == "quantized"}
    for layer in range(2):
        inside = {
            name.removeprefix(f"model.layers.{layer}."): width
            for name, width in widths.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        assert inside.pop("mlp.down_proj.weight") == (8, 32)
        assert inside.pop("mlp.gate_proj.weight") == (3, 16)
        assert inside.pop("self_attn.k_proj.weight") == ((4, 32) if layer else (4, 64))
        assert set(inside.values()) == {(4, 32)}
    held = packed_linears(load_model(tmp_path / "q"))
    assert held["model.layers.1.mlp.down_proj"].packing.format.bits == 8
    assert held["model.layers.0.self_attn.k_proj"].packing.format.group_size == 64
    quantize(dense, tmp_path / "rtn", method="rtn", **given)
    assert change(dense, tmp_path / "q") < 0.95 * change(dense, tmp_path / "rtn")


def test_awqs_own_layout_refuses_unlike_linears_when_it_is_asked_for(dense, tmp_path):
    with pytest.raises(UsageError, match="4 bits, not 8"):
        quantize(dense, tmp_path / "q", layout="awq", overrides=["down_proj=8bit"])
    with pytest.raises(ModelError, match="one group_size for all linears"):
        quantize(dense, tmp_path / "q", layout="awq", overrides=["down_proj=4bit:64"])


def test_experts_that_share_inputs_can_have_groups_of_their_own(tmp_path, tiny_tokenizer):
    model = tiny_model("mixtral", vocab_size=320, **FAMILIES["mixtral"])
    save_model(model, tmp_path / "dense", tokenizer_from=tiny_tokenizer)
    overrides = [r"\.w1=4bit:16", r"\.w3=4bit:-1"]
    result = quantize(tmp_path / "dense", tmp_path / "q", overrides=overrides, symmetric=False)
    quantize(tmp_path / "dense", tmp_path / "r", method="rtn", overrides=overrides, symmetric=False)
    sizes = {o.name[-9:]: o.group_size for o in result.tensors if ".experts." in o.name}
    assert sizes == {"w1.weight": 16, "w3.weight": -1, "w2.weight": 32}
    assert change(tmp_path / "dense", tmp_path / "q") < change(tmp_path / "dense", tmp_path / "r")


def test_asking_for_a_layout_that_cannot_hold_the_bits_is_refused(dense, tmp_path):
    with pytest.raises(UsageError, match="4 bits, not 8"):
        quantize(dense, tmp_path / "q", bits=8, layout="awq")


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_other_methods_fill_the_layout_too(dense, tmp_path, method):
    """With the values that they have in GPTQ's."""
    for layout in ("awq", "gptq"):
        result = quantize(dense, tmp_path / layout, method=method, layout=layout)
        assert result.layout == layout
    assert change(tmp_path / "gptq", tmp_path / "awq") < 1e-6


def test_linears_that_stay_dense_have_the_factors_too(dense, tmp_path):
    """One of three that share a norm is excluded: its columns are multiplied all the same."""
    quantize(dense, tmp_path / "q", exclude=["k_proj"], symmetric=False)
    before, after = tensors(dense), tensors(tmp_path / "q")
    name = "model.layers.0.self_attn.k_proj.weight"
    norm = "model.layers.0.input_layernorm.weight"
    factors = before[norm].float() / after[norm].float()
    assert (factors - 1).abs().max() > 0.05
    torch.testing.assert_close(
        after[name].float(), before[name].float() * factors, rtol=0.01, atol=1e-3
    )
    assert json.loads((tmp_path / "q/config.json").read_text())["quantization_config"][
        "modules_to_not_convert"
    ] == [f"model.layers.{layer}.self_attn.k_proj" for layer in range(2)]


FAMILIES = {
    "mixtral": {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16},
    "phi": {"hidden_size": 64, "intermediate_size": 96},
    "gemma2": {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16},
    "gpt2": {"n_embd": 64, "n_inner": 128},
    "falcon": {"hidden_size": 64},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_families_with_routers_biases_and_norms_of_their_own(tmp_path, tiny_tokenizer, family):
    """8 bits change little, and a factor that did not arrive everywhere would change much."""
    model = tiny_model(family, vocab_size=320, **FAMILIES[family])
    save_model(model, tmp_path / "dense", tokenizer_from=tiny_tokenizer)
    result = quantize(tmp_path / "dense", tmp_path / "q", bits=8)
    assert any("with factors" in (tensor.reason or "") for tensor in result.tensors)
    assert change(tmp_path / "dense", tmp_path / "q") < 0.03


def test_a_family_without_pairs_is_refused_before_anything_is_read(tmp_path):
    save_model(tiny_model("xlnet"), tmp_path / "model")  # no tokenizer: it would be missed later
    (tmp_path / "out").mkdir()
    spec = QuantizeSpec(
        model=str(tmp_path / "model"), output=str(tmp_path / "out"), method="awq", group_size=32
    )
    with pytest.raises(UsageError, match="no place for them") as error:
        run(spec, Job(folder=tmp_path / "out"))
    assert "gptq" in error.value.fix


THEIRS = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], device_map="cpu", dtype=torch.float32)
linears = [m for m in model.modules() if "Awq" in type(m).__name__]
with torch.no_grad():
    logits = model(torch.arange(24)[None]).logits.float()
torch.save({"linears": len(linears), "logits": logits}, sys.argv[2])
"""


@pytest.mark.interop
@pytest.mark.skipif(not PYTHON.exists(), reason="scripts/gptqmodel makes its environment")
def test_transformers_runs_what_we_quantize(awq, tmp_path):
    out, result = awq
    command = [PYTHON, "-c", THEIRS, str(out), str(tmp_path / "theirs.pt")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    theirs, ours = torch.load(tmp_path / "theirs.pt"), logits(out)
    assert theirs["linears"] == result.quantized
    # Its kernel multiplies in bfloat16, and this model makes much of little.
    assert (theirs["logits"] - ours).norm() / ours.norm() < 0.08
