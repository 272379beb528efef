"""The AWQ layout beside AutoAWQ's packer, and what a quantization_config says and takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.quantize.golden.weights import AWQ_GOLDEN, OUT, Golden
from tfcli.models.errors import ModelError
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.awq import ORDER, AWQLayout, AWQPacking, pack_words, unpack_words
from tfcli.models.layouts.layout import Packed
from tfcli.models.layouts.registry import layout_of
from tfcli.models.layouts.values import Affine, AffineFormat, Format

HELD = load_file(Path(__file__).parents[2] / "quantize/golden/awq.safetensors")
PARTS = ("qweight", "qzeros", "scales")
every_golden = pytest.mark.parametrize("golden", AWQ_GOLDEN, ids=lambda golden: golden.name)


def values_of(golden: Golden) -> Affine:
    return Affine(golden.levels(), golden.scales(), golden.zeros(), 4, golden.group_size)


@every_golden
def test_our_packer_gives_the_tensors_that_autoawq_gives(golden: Golden):
    for name, ours in AWQPacking(golden.group_size).pack(values_of(golden)).items():
        theirs = HELD[f"{golden.name}.{name}"]
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs), name


@every_golden
def test_our_layer_reads_the_weight_that_autoawq_reads(golden: Golden):
    layer = QuantizedLinear(
        golden.in_features, OUT, AWQPacking(golden.group_size, not golden.symmetric), bias=False
    )
    layer.load_state_dict({name: HELD[f"{golden.name}.{name}"] for name in PARTS})
    layer.verify()
    assert torch.equal(layer.dequantize(torch.float16).t(), HELD[f"{golden.name}.weight"])


def test_a_word_holds_its_outputs_in_awqs_order():
    (word,) = pack_words(torch.arange(8)[None])[0]
    assert [int(word) >> 4 * place & 15 for place in range(8)] == list(ORDER)


@pytest.mark.parametrize("shape", [(1, 8), (3, 24), (5, 64), (96, 40)])
def test_words_round_trip(shape):
    levels = torch.randint(16, shape, generator=torch.Generator().manual_seed(1))
    packed = pack_words(levels)
    assert packed.shape == (shape[0], shape[1] // 8)
    assert torch.equal(unpack_words(packed), levels.to(torch.uint8))


def test_one_group_for_all_inputs_and_zero_points_of_zero():
    generator = torch.Generator().manual_seed(3)
    values = Affine(
        torch.randint(16, (16, 40), generator=generator),
        torch.rand(16, 1, generator=generator).half(),
        torch.arange(16)[:, None],
        4,
        40,
    )
    packing = AWQPacking(-1)
    back = packing.unpack(packing.pack(values))
    assert torch.equal(back.dequantize(), values.dequantize())
    assert packing.features(lambda part: packing.pack(values)[part].shape) == (40, 16)


@pytest.mark.parametrize(
    ("config", "packing"),
    [
        ({"bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}, AWQPacking(64)),
        ({"w_bit": 4, "q_group_size": 32, "version": "GEMM"}, AWQPacking(32)),
        ({"group_size": -1, "zero_point": False}, AWQPacking(-1, False)),
        ({"bits": 4, "do_fuse": True, "fuse_max_seq_len": 512}, AWQPacking(128)),
    ],
)
def test_configs_of_transformers_and_of_autoawq(config, packing):
    layout = layout_of({"quant_method": "awq", **config})
    assert layout.usual == packing


@pytest.mark.parametrize(
    ("name", "kept", "dense"),
    [
        ("model.layers.0.mlp.up_proj", ["up_proj"], True),
        ("model.layers.0.mlp.up_proj", ["model.layers.0"], True),
        ("model.layers.01.mlp.up_proj", ["model.layers.0"], False),
        ("model.layers.0.mlp.gate_proj", ["model.layers.0.mlp.gate"], False),
        ("model.layers.3.mlp.gate_proj", [r"model.layers.\d"], True),
        ("model.layers.13.mlp.gate_proj", [r"model.layers.\d"], False),
        ("visual.blocks.0.fc1", ["visual"], True),
        ("model.layers.0.mlp.up_proj", ["mlp"], False),
    ],
)
def test_names_that_stay_dense_match_as_in_transformers(name, kept, dense):
    from transformers.quantizers.quantizers_utils import should_convert_module

    layout = AWQLayout.from_config({"modules_to_not_convert": kept})
    assert layout.keeps(name) == dense
    assert should_convert_module(name, kept) != dense


def test_the_config_says_what_it_was_made_of():
    names = [f"model.layers.0.{name}" for name in ("q_proj", "k_proj")]
    packed = Packed({names[0]: AWQPacking(32)}, [names[1]], ["model.layers"], {"method": "awq"})
    config = AWQLayout.of(packed).to_config()
    back = layout_of(config)
    assert back.packing_of(names[0]) == AWQPacking(32)
    assert back.packing_of(names[1]) is None
    assert config["meta"] == {"method": "awq"}


def test_linears_that_are_packed_in_unlike_ways_are_refused():
    packings = {"h.0.a": AWQPacking(32), "h.0.b": AWQPacking(64)}
    with pytest.raises(ModelError, match="one group_size"):
        AWQLayout.of(Packed(packings, [], ["h"]))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"bits": 8}, "bits: 8"),
        ({"bits": True}, "bits: True"),
        ({"bits": "4"}, "bits: '4'"),
        ({"version": "gemv"}, "version: 'gemv'"),
        ({"version": "gemv_fast"}, "version: 'gemv_fast'"),
        ({"version": "ipex"}, "version: 'ipex'"),
        ({"version": 3}, "version: 3"),
        ({"backend": "llm-awq"}, "backend"),
        ({"group_size": 0}, "group_size: 0"),
        ({"group_size": 1.5}, "group_size: 1.5"),
        ({"zero_point": "no"}, "zero_point: 'no'"),
        ({"modules_to_not_convert": "lm_head"}, "not a list"),
        ({"modules_to_not_convert": ["("]}, "no regular expression"),
    ],
)
def test_configs_that_are_not_supported_are_named(config, problem):
    with pytest.raises(ModelError, match=problem):
        layout_of({"quant_method": "awq", **config})


def test_what_the_layout_cannot_hold():
    assert "not 8" in AWQLayout.refusal(AffineFormat(8))
    assert "not 3" in AWQLayout.refusal(AffineFormat(3))
    assert AWQLayout.refusal(Format(4)) is not None
    assert AWQLayout.refusal(AffineFormat(4, symmetric=False)) is None
    assert "12 outputs" in AWQPacking(32).misfit(64, 12)
    assert "80 inputs" in AWQPacking(32).misfit(80, 16)
    assert AWQPacking(32).misfit(64, 24) is None


def test_zero_points_that_the_config_denies_and_scales_that_are_not_finite():
    golden = AWQ_GOLDEN[0]
    parts = AWQPacking(32).pack(values_of(golden))
    AWQPacking(32).verify(parts, "a")
    with pytest.raises(ModelError, match="zero_point: false"):
        AWQPacking(32, zero_point=False).verify(parts, "a")
    parts["scales"][0, 0] = torch.inf
    with pytest.raises(ModelError, match="not finite"):
        AWQPacking(32).verify(parts, "a")
