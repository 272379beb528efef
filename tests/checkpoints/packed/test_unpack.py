"""Packed weights come out dense: what the packing says, rounded once, whatever verb asks."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.in_memory import held, written
from tests.checkpoints.models import LLAMA, tiny, tokens
from tests.models.tiny import tiny_model
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model, open_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.packed.unpack import method_of, unpacked
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.errors import WorkError
from tfcli.recipe.execute import execute

Tensors = dict[str, torch.Tensor]
COMPRESSED = {
    "format": "float-quantized",
    "config_groups": {
        "g": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float"},
            "input_activations": {
                "num_bits": 8,
                "type": "float",
                "strategy": "tensor",
                "dynamic": False,
            },
        }
    },
}
WIDE = {**LLAMA, "hidden_size": 48, "intermediate_size": 80}  # of which blocks of 32 are cut off


def in_blocks(weight: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix as 8-bit floats, the scale of each block, and what both say, value by value."""
    rows, columns = weight.shape
    scales = torch.rand(-(-rows // size), -(-columns // size)) + 0.5
    packed = weight.to(torch.float8_e4m3fn)
    dense = torch.tensor(
        [
            [packed[i, j].float() * scales[i // size, j // size] for j in range(columns)]
            for i in range(rows)
        ]
    )
    return packed, scales, dense


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensors]:
    """A folder of 8-bit floats in blocks, and the values that it stands for."""
    config, tensors = written(tiny(WIDE))
    stored, dense = {}, {}
    for name, tensor in tensors.items():
        stored[name] = dense[name] = tensor
        if name.endswith("proj.weight"):
            stored[name], stored[f"{name}_scale_inv"], dense[name] = in_blocks(tensor, 32)
    settings = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    return folder(tmp_path_factory.mktemp("eight"), config, stored, settings), dense


def folder(path: Path, config: dict[str, Any], tensors: Tensors, settings: dict[str, Any]) -> Path:
    path.mkdir(exist_ok=True)
    pending = [PendingTensor.of(name, tensor.contiguous()) for name, tensor in tensors.items()]
    write_safetensors(path / "model.safetensors", pending)
    (path / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    return path


@pytest.mark.parametrize("verb", ["convert", "dequantize"])
@pytest.mark.parametrize("kind", ["bf16", "fp32"])
def test_every_weight_is_its_8_bit_float_times_its_scale_rounded_once(eight, tmp_path, verb, kind):
    source, dense = eight
    spec_class = {"convert": ConvertSpec, "dequantize": DequantizeSpec}[verb]
    out = tmp_path / "out"
    execute(spec_class(source=str(source), output=str(out), dtype=kind), Console.silent())
    found = open_tensors(out)
    target = {"bf16": torch.bfloat16, "fp32": torch.float32}[kind]
    assert set(found) == dense.keys()
    assert all(torch.equal(found[name], dense[name].to(target)) for name in dense)
    assert "quantization_config" not in json.loads((out / "config.json").read_text())


def test_without_a_type_packed_weights_stay_and_a_target_that_has_none_gets_dense_ones(
    eight, tmp_path
):
    source, dense = eight
    execute(ConvertSpec(source=str(source), output=str(tmp_path / "same")), Console.silent())
    one, other = open_tensors(source), open_tensors(tmp_path / "same")
    assert {i.name: i.dtype for i in one.infos()} == {i.name: i.dtype for i in other.infos()}
    spec = ConvertSpec(source=str(source), output=str(tmp_path / "m"), to="megatron")
    execute(spec, Console.silent())
    back = open_checkpoint(tmp_path / "m")
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(back.weights[name], dense[name].bfloat16())


def test_a_model_is_run_from_packings_without_a_kernel_and_it_is_said(eight):
    source, dense = eight
    assert open_model(source).notes == (
        "the weights are packed (fp8) and run dequantized, in bfloat16",
    )
    model = load_model(source, dtype=torch.float32)
    weight = model.get_parameter("model.layers.1.self_attn.o_proj.weight")
    assert torch.equal(weight, dense["model.layers.1.self_attn.o_proj.weight"].bfloat16().float())
    assert torch.isfinite(model(tokens()).logits).all()


@pytest.mark.parametrize("method", ["fp8", "fbgemm_fp8", "compressed-tensors"])
@pytest.mark.parametrize("shape", [(1, 1), (48, 1), (48,), ()])
def test_one_scale_for_all_or_for_each_row(shape, method):
    config, tensors = written(tiny(WIDE))
    name = "model.layers.0.self_attn.o_proj.weight"
    scale = torch.rand(shape) + 0.5
    packed = {name: tensors[name].to(torch.float8_e4m3fn), f"{name}_scale": scale}
    packed["model.layers.0.self_attn.o_proj.input_scale"] = torch.ones(1)
    settings = {"quantization_config": {"quant_method": method, **deepcopy(COMPRESSED)}}
    strategy = "tensor" if math.prod(shape) == 1 else "channel"
    settings["quantization_config"]["config_groups"]["g"]["weights"]["strategy"] = strategy
    found = unpacked(held({**config, **settings}, {**tensors, **packed}), lambda name: True)
    rows = scale.reshape(-1, 1)
    assert torch.equal(found.weights[name], packed[name].float() * rows)
    assert found.tensors.keys() == tensors.keys()


def test_scales_that_are_missing_or_of_another_shape_are_refused():
    config, tensors = written(tiny(WIDE))
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    name = "model.layers.0.self_attn.o_proj.weight"
    packed = {**tensors, name: tensors[name].to(torch.float8_e4m3fn)}
    with pytest.raises(WorkError, match="has no scale"):
        unpacked(held(config, packed), lambda name: True)
    with pytest.raises(WorkError, match=r"in blocks of \[32, 32\] does not give"):
        odd = {**packed, f"{name}_scale_inv": torch.ones(3, 3)}
        unpacked(held(config, odd), lambda name: True)
    with pytest.raises(WorkError, match="weights are packed, and none is"):
        unpacked(held(config, tensors), lambda name: True)


LEVELS = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_experts_of_4_bit_floats_are_their_levels_times_a_power_of_two():
    """By hand: a level and a sign in each half of a byte, the first value in the low half."""
    sizes = {"hidden_size": 64, "intermediate_size": 32}
    config, tensors = written(tiny_model("gpt_oss", **sizes))
    generator = torch.Generator().manual_seed(1)
    stored, dense = {}, {}
    for name, tensor in tensors.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = dense[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        shape = (experts, outputs, inputs // 32)
        codes = torch.randint(0, 16, (*shape, 32), generator=generator)
        powers = torch.randint(120, 134, shape, generator=generator)
        low, high = codes[..., ::2], codes[..., 1::2]
        stored[f"{name}_blocks"] = (low | high << 4).to(torch.uint8)
        stored[f"{name}_scales"] = powers.to(torch.uint8)
        values = [
            (-1 if code >= 8 else 1) * LEVELS[code % 8] * 2.0 ** (power - 127)
            for code, power in zip(
                codes.flatten().tolist(), powers.repeat_interleave(32).tolist(), strict=True
            )
        ]
        dense[name] = torch.tensor(values).view(experts, outputs, inputs).transpose(1, 2)
    named = {**config, "quantization_config": {"quant_method": "mxfp4"}}
    for settings, exact in ((named, True), (named, False), (config, True)):
        found = unpacked(held(settings, stored), lambda name, exact=exact: exact)
        assert found.tensors.keys() == dense.keys()
        for name in dense:
            assert torch.equal(found.weights[name].float(), dense[name]), name


@pytest.mark.parametrize("ending", ["_scale_inv", "_scale"])
def test_scales_beside_8_bit_floats_count_without_a_config_that_names_them(ending):
    config, tensors = written(tiny(WIDE))
    name = "model.layers.0.self_attn.o_proj.weight"
    packed, scale = tensors[name].to(torch.float8_e4m3fn), torch.tensor(3.0)
    found = held(config, {**tensors, name: packed, f"{name}{ending}": scale})
    assert method_of(found) == "fp8"
    dense = unpacked(found, lambda name: True)
    assert torch.equal(dense.weights[name], 3 * packed.float())


def test_8_bit_floats_without_scales_are_plain_values(tmp_path):
    config, tensors = written(tiny(WIDE, dtype=torch.bfloat16))
    eight = {
        name: tensor.to(torch.float8_e5m2) if name.endswith("proj.weight") else tensor
        for name, tensor in tensors.items()
    }
    source = folder(tmp_path / "s", config, eight, {})
    (source / "config.json").write_text(json.dumps(config))
    model = load_model(source)
    for name, tensor in eight.items():
        assert torch.equal(model.get_parameter(name), tensor.bfloat16()), name
    spec = ConvertSpec(source=str(source), output=str(tmp_path / "m"), to="megatron")
    execute(spec, Console.silent())
    back = open_checkpoint(tmp_path / "m")
    assert all(torch.equal(back.weights[name], eight[name].bfloat16()) for name in eight)


def test_a_packing_that_is_not_read_is_named():
    config, tensors = written(tiny())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        **COMPRESSED,
        "format": "pack",
    }
    with pytest.raises(WorkError, match="format: 'pack' is not supported"):
        unpacked(held(config, tensors), lambda name: True)
    config["quantization_config"] = {"quant_method": "unheard"}
    with pytest.raises(WorkError, match="quant_method: 'unheard' is not supported"):
        unpacked(held(config, tensors), lambda name: True)
