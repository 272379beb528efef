"""`tfcli quantize` into compressed-tensors: what is written is loaded, run and unpacked."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.quantize.test_run import GPT2, LLAMA, MIXTURES, quantize, write_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.errors import UsageError
from tfcli.inspect.spec import InspectSpec
from tfcli.models.errors import Problem
from tfcli.models.layers.rounded_linear import RoundedLinear
from tfcli.models.layouts.registry import layout_of
from tfcli.models.quantized import packed_linears, unpack_linears
from tfcli.recipe.execute import execute

PYTHON = Path(__file__).parents[2] / ".compressed-tensors/bin/python"
WAYS = {
    "w4a16": {"bits": 4},
    "w4a16-asym": {"bits": 4, "symmetric": False},
    "w3a16": {"bits": 3},
    "w8a16": {"bits": 8, "group_size": -1},
    "w8a8": {"bits": 8, "group_size": -1, "round_inputs": True},
    "fp8": {"method": "fp8"},
    "fp8-tensor": {"method": "fp8", "scales": "tensor"},
    "fp8-block": {"method": "fp8", "scales": "block"},
    "fp8-inputs": {"method": "fp8", "round_inputs": True},
    "mxfp4": {"method": "mxfp4"},
    "nvfp4": {"method": "nvfp4"},
}
WIDE = LLAMA | {"hidden_size": 128, "intermediate_size": 192, "initializer_range": 0.1}
every_way = pytest.mark.parametrize("way", WAYS)


def quantized(tmp_path, way, config=WIDE):
    dense = write_checkpoint(tmp_path / "dense", config)
    options = dict(WAYS[way])
    if "method" in options:
        options["group_size"] = None
    return dense, quantize(dense, tmp_path / "q", layout="compressed-tensors", **options)


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(24)[None]).logits


@every_way
@pytest.mark.parametrize("config", [WIDE, GPT2], ids=["llama", "gpt2"])
def test_a_folder_loads_and_equals_its_dequantized_weights(tmp_path, way, config):
    dense, result = quantized(tmp_path, way, config)
    packed, plain = load_model(tmp_path / "q"), load_model(dense)
    layers = packed_linears(packed)
    assert len(layers) == result.quantized
    for name, layer in layers.items():
        weight = plain.get_parameter(f"{name}.weight")
        outcome = next(o for o in result.tensors if o.name == f"{name}.weight")
        error = (layer.dequantize() - weight).square().sum() / weight.square().sum()
        assert outcome.weight_error == pytest.approx(error.item(), rel=1e-4)
        weight.data = layer.dequantize()
    held, rounds = logits(packed), WAYS[way].get("round_inputs", False)
    if not rounds:
        torch.testing.assert_close(held, logits(plain))
    unpack_linears(packed, layers, torch.float32)
    assert any(isinstance(m, RoundedLinear) for m in packed.modules()) == rounds
    # What rounds inputs turns the last bit of one into a step; layers are compared elsewhere.
    most = 0.03 if rounds else 1e-5
    assert (held - logits(packed)).abs().max() < most * held.abs().max()
    assert torch.equal(logits(packed), logits(plain)) != rounds


@every_way
def test_dequantize_and_inspect_read_it(tmp_path, way):
    dense, _ = quantized(tmp_path, way)
    spec = DequantizeSpec(source=str(tmp_path / "q"), output=str(tmp_path / "d"), dtype="float32")
    execute(spec, Console.silent())
    found = open_tensors(tmp_path / "d")
    layers = packed_linears(load_model(tmp_path / "q"))
    for name, layer in layers.items():
        assert torch.equal(found[f"{name}.weight"], layer.dequantize()), name
    assert set(found) == set(open_tensors(dense))
    told = [
        execute(InspectSpec(path=str(path)), Console.silent()).result
        for path in (tmp_path / "q", dense)
    ]
    assert told[0].parameters == told[1].parameters


@pytest.mark.parametrize("way", ["w8a8", "fp8", "mxfp4"])
def test_experts_that_are_stacked_when_dense_are_quantized_one_by_one(tmp_path, way):
    _, result = quantized(tmp_path, way, MIXTURES["gpt_oss"])
    layers = packed_linears(load_model(tmp_path / "q"))
    assert sum(".experts." in name for name in layers) == 2 * 4 * 2
    spec = DequantizeSpec(source=str(tmp_path / "q"), output=str(tmp_path / "d"), dtype="float32")
    execute(spec, Console.silent())
    assert torch.isfinite(logits(load_model(tmp_path / "d"))).all()
    assert result.dropped == 0


def test_inputs_that_groups_do_not_divide_are_refused(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", WIDE)
    options = {"method": "fp8", "scales": "block", "round_inputs": True, "group_size": None}
    with pytest.raises(UsageError, match=r"down_proj has 192 inputs, which groups of 128"):
        quantize(dense, tmp_path / "q", **options)


def changed(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] |= changes
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "marlin-24"}, "format: 'marlin-24'"),
        ({"quantization_status": "initialized"}, "quantization_status: 'initialized'"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config"),
        ({"transform_config": {"config_groups": {}}}, "transform_config"),
        ({"config_groups": {"W4A16": ["Linear"]}}, "config_groups.W4A16"),
        ({"config_groups": []}, "config_groups"),
        ({"ignore": "lm_head"}, "ignore: 'lm_head'"),
        ({"ignore": ["re:("]}, "bad pattern 're:\\('"),
        ({"global_compression_ratio": "half"}, "global_compression_ratio: 'half'"),
    ],
    ids=str,
)
def test_a_config_that_means_something_else_is_refused_by_name(tmp_path, changes, message):
    quantized(tmp_path, "w4a16", LLAMA)
    if "format" in changes:
        config = json.loads((tmp_path / "q/config.json").read_text())
        group = config["quantization_config"]["config_groups"]["group_0"]
        changes = {**changes, "config_groups": {"group_0": {**group, "format": None}}}
    changed(tmp_path / "q", **changes)
    with pytest.raises(Problem, match=message):
        load_model(tmp_path / "q")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_bits", 9, "num_bits: 9"),
        ("num_bits", "4", "num_bits: '4'"),
        ("symmetric", 1, "symmetric: 1"),
        ("strategy", "attn_head", "strategy: 'attn_head'"),
        ("group_size", 0, "group_size: 0"),
        ("group_size", None, "group_size: None"),
        ("dynamic", True, "dynamic: True"),
        ("type", "posit", "type: 'posit'"),
        ("rotation", 7, "rotation: 7"),
    ],
)
def test_an_argument_of_a_weight_that_is_not_supported_is_named(tmp_path, key, value, message):
    quantized(tmp_path, "w4a16", LLAMA)
    config = json.loads((tmp_path / "q/config.json").read_text())
    groups = config["quantization_config"]["config_groups"]
    groups["group_0"]["weights"][key] = value
    changed(tmp_path / "q", config_groups=groups)
    with pytest.raises(Problem, match=message):
        load_model(tmp_path / "q")


def test_linears_are_named_by_names_then_patterns_then_class(tmp_path):
    quantized(tmp_path, "w8a16", LLAMA)
    config = json.loads((tmp_path / "q/config.json").read_text())["quantization_config"]
    assert config["ignore"] == ["lm_head"]
    assert config["config_groups"]["group_0"]["targets"] == ["Linear"]

    def group(targets, bits):
        weights = {"num_bits": bits, "type": "int", "strategy": "channel"}
        return {"targets": targets, "weights": weights}

    config["config_groups"] = {
        "a": group(["Linear"], 8),
        "b": group(["re:.*mlp", "x.q_proj"], 4),
        "c": group(["x.mlp.up_proj"], 2),
    }
    layout = layout_of(config)
    names = {"x.q_proj": 4, "x.mlp.up_proj": 2, "x.mlp.down_proj": 4, "x.k_proj": 8}
    assert {name: layout.packing_of(name).bits for name in names} == names
    assert layout.packing_of("lm_head") is None and layout.usual.bits == 8


def test_scales_of_the_cache_are_left_aside_and_a_wrong_shape_is_named(tmp_path):
    quantized(tmp_path, "w4a16", LLAMA)
    name = "model.layers.1.mlp.up_proj.weight_shape"
    path = open_tensors(tmp_path / "q").info(name).file
    held = load_file(path)
    (tmp_path / "q/model.safetensors.index.json").unlink(missing_ok=True)
    extra = {"model.layers.0.self_attn.k_scale": torch.ones(1)}
    save_file(held | extra, path, {"format": "pt"})
    changed(tmp_path / "q", kv_cache_scheme={"num_bits": 8, "type": "float"})
    load_model(tmp_path / "q")
    save_file(held | {name: held[name].flip(0)}, path, {"format": "pt"})
    with pytest.raises(Problem, match=r"up_proj\.weight_shape"):
        load_model(tmp_path / "q")


THEIRS = """
import sys, torch
from transformers import AutoModelForCausalLM, CompressedTensorsConfig
for folder in sys.argv[1:]:
    # transformers runs 4-bit floats in bfloat16 alone, and has no place for packed zero points.
    dtype = torch.bfloat16 if "fp4" in folder else torch.float32
    dense = {"quantization_config": CompressedTensorsConfig(dequantize=True)}
    more = dense if "asym" in folder else {}
    model = AutoModelForCausalLM.from_pretrained(f"{folder}/q", dtype=dtype, **more)
    with torch.no_grad():
        logits = model(torch.arange(24)[None]).logits.float()
    names = [n for n, m in model.named_modules() if hasattr(m, "quantization_scheme")]
    torch.save({"logits": logits, "linears": len(names)}, f"{folder}/theirs.pt")
"""
ERRORS = {
    # Dequantized in the type of the scales, float16.
    "w4a16-asym": 0.003,
    # Sums in another order turn a rounded input into the next step here and there.
    "w8a8": 0.03,
}


@pytest.mark.interop
@pytest.mark.skipif(not PYTHON.exists(), reason="scripts/compressed-tensors makes its environment")
def test_transformers_runs_what_we_quantize(tmp_path):
    folders = {way: tmp_path / way for way in WAYS}
    for folder in folders.values():
        folder.mkdir()
    done = {way: quantized(folder, way)[1] for way, folder in folders.items()}
    ran = subprocess.run([PYTHON, "-c", THEIRS, *folders.values()], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    for way, folder in folders.items():
        theirs = torch.load(folder / "theirs.pt")
        assert theirs["linears"] == (0 if "asym" in way else done[way].quantized)
        dtype = torch.bfloat16 if "fp4" in way else torch.float32
        ours = logits(load_model(folder / "q", dtype=dtype)).float()
        error = (theirs["logits"] - ours).abs().max() / ours.abs().max()
        assert error < ERRORS.get(way, 1e-5), way
