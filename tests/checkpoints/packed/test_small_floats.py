"""Small floats with scales: transformers makes the same weights of the same stored tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from tests.checkpoints.in_memory import held, written
from tests.checkpoints.models import tiny
from tests.models.tiny import tiny_model
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.packed.unpack import unpacked
from tfcli.inspect.count import count_parameters
from tfcli.inspect.open import quantization_of

NAME = "model.layers.0.self_attn.o_proj.weight"
BLOCKS = {"quant_method": "fp8", "weight_block_size": [16, 16]}


def dense(settings: dict, tensors: dict[str, Tensor], config: dict) -> dict[str, Tensor]:
    """What is read of stored tensors, which `inspect` must count as the same weights."""
    found = unpacked(held({**config, "quantization_config": settings}, tensors), lambda name: True)
    infos = [
        TensorInfo(name, dtype_code(tensor.dtype), tuple(tensor.shape), Path(), 0, 0)
        for name, tensor in tensors.items()
    ]
    values = {entry.name: entry.read() for entry in found}
    assert count_parameters(infos, settings) == (sum(v.numel() for v in values.values()), True)
    return values


def scaled(scales: Tensor, packed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A weight with such scales, as it is read and as transformers reads it."""
    config, tensors = written(tiny())
    packed = tensors[NAME].to(torch.float8_e4m3fn) if packed is None else packed
    found = dense(BLOCKS, {**tensors, NAME: packed, f"{NAME}_scale_inv": scales}, config)[NAME]
    return found, Fp8Dequantize(None)._dequantize_one(packed, scales, torch.float32)


def exponents(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(120, 134, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "e8m0", "bytes"])
def test_blocks_have_scales_that_are_numbers_or_exponents(kind):
    scales = {
        "float32": torch.rand(2, 2) + 0.5,
        "bfloat16": (torch.rand(2, 2) + 0.5).bfloat16(),
        "e8m0": exponents(2, 2).view(torch.float8_e8m0fnu),
        "bytes": exponents(2, 2),
    }[kind]
    found, expected = scaled(scales)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float8_e8m0fnu])
def test_experts_of_4_bits_beside_blocks_of_8_have_a_power_of_two_for_32_values(kind):
    generator = torch.Generator().manual_seed(3)
    packed = torch.randint(0, 256, (32, 16), generator=generator, dtype=torch.uint8)
    found, expected = scaled(exponents(32, 1).view(kind), packed.view(torch.int8))
    assert found.shape == (32, 32) and torch.equal(found, expected)


def test_fbgemm_has_a_scale_for_each_output_of_a_linear_and_of_an_expert():
    """transformers keeps experts [experts, inputs, outputs] and multiplies outputs by scales."""
    config, tensors = written(tiny_model("llama4_text", intermediate_size=24))
    stored, expected = dict(tensors), dict(tensors)
    for name, tensor in tensors.items():
        up, down = name.endswith("gate_up_proj"), name.endswith("experts.down_proj")
        if not up and not down and not name.endswith("_proj.weight"):
            continue
        packed = tensor.to(torch.float8_e4m3fn)
        outputs = tensor.shape[-1] if up or down else tensor.shape[0]
        rows = torch.rand(*tensor.shape[:-2], outputs) + 0.5
        # transformers stores the scales of `down_proj` as a column, though they are of outputs.
        stored[f"{name}_scale"] = rows[..., None, :] if up else rows[..., :, None]
        stored[name] = packed
        expected[name] = packed.float() * (rows[..., None, :] if up or down else rows[:, None])
    stored["model.layers.0.self_attn.o_proj.input_scale_ub"] = torch.tensor([1200.0])
    settings = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}
    found = dense(settings, stored, config)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


def test_gpt_oss_experts_are_what_transformers_unpacks():
    config, tensors = written(tiny_model("gpt_oss", hidden_size=64, intermediate_size=32))
    generator = torch.Generator().manual_seed(1)
    stored, expected = {}, {}
    for name, tensor in tensors.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = expected[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        shape = (experts, outputs, inputs // 32, 16)
        blocks = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        scales = exponents(*shape[:3])
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        expected[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    found = dense({"quant_method": "mxfp4"}, stored, config)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


@pytest.mark.parametrize(
    ("method", "bits", "group"), [("fp8", 8, None), ("fbgemm_fp8", 8, None), ("mxfp4", 4, 32)]
)
def test_inspect_says_their_bits(method, bits, group):
    found = quantization_of({"quantization_config": {"quant_method": method}})
    assert found is not None and (found.bits, found.group_size) == (bits, group)
