"""What compressed-tensors writes and reads, beside ours: by its golden file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.quantize.golden.compressed_tensors_cases import CASES, INTO, OUT, inputs
from tfcli.models.layers import int4_kernel
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.compressed_tensors import CompressedTensorsLayout
from tfcli.models.layouts.compressed_tensors_pack import PackQuantized
from tfcli.models.layouts.compressed_tensors_parts import CompressedPacking
from tfcli.models.layouts.packing import buffer_of
from tfcli.models.layouts.values import Affine
from tfcli.quantize.solvers.grid import GridOptions
from tfcli.quantize.solvers.rtn import round_to_nearest

GRID = GridOptions(4, 128)
HELD = load_file(Path(__file__).parent / "golden/compressed_tensors.safetensors")
every_case = pytest.mark.parametrize("name", CASES)


def config(name: str) -> dict:
    """The config of a model whose linears are all as those of a case."""
    form, weights, of_inputs = CASES[name]
    group = {"targets": ["Linear"], "weights": weights, "input_activations": of_inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


def packing(name: str) -> CompressedPacking:
    return CompressedTensorsLayout.from_config(config(name)).usual


def parts(name: str) -> dict[str, torch.Tensor]:
    return {part: HELD[f"{name}.{part}"] for part in packing(name).parts(INTO, OUT)}


def layer(name: str) -> QuantizedLinear:
    made = QuantizedLinear(INTO, OUT, packing(name), bias=False)
    held = {buffer_of(part): value for part, value in parts(name).items()}
    made.load_state_dict(held, assign=True)
    made.verify()
    return made


@every_case
def test_our_layer_reads_the_weight_that_the_library_reads(name):
    dense = HELD[f"{name}.dense"]
    assert torch.equal(layer(name).dequantize(dense.dtype), dense)


@every_case
def test_our_packer_gives_the_tensors_that_the_library_gives(name):
    made = packing(name)
    if getattr(made, "tensor", False):
        pytest.skip("one scale for a whole tensor of levels is only read")
    if hasattr(made, "scale_dtype"):  # the library keeps the type that scales come in
        made = type(made)(**{**vars(made), "scale_dtype": torch.float32})
    stored = made.pack(made.unpack(parts(name)))
    for part, ours in stored.items():
        theirs = HELD[f"{name}.{part}"]
        assert ours.dtype == theirs.dtype and ours.is_contiguous(), part
        assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8)), part


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2] is not None])
def test_inputs_are_rounded_as_the_library_rounds_them(name):
    made = layer(name)
    stored = HELD.get(f"{name}.input_global_scale")
    ours = made.packing.inputs.round(inputs(), stored)
    theirs = HELD[f"{name}.inputs"]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    weight = made.dequantize()
    expected = theirs @ weight.t()
    with torch.no_grad():
        got = made(inputs())
        dense = made.unpacked(torch.float32)(inputs())
    scale = expected.abs().max()
    assert ((got - expected).abs().max() / scale).item() < 1e-6
    assert ((dense - expected).abs().max() / scale).item() < 1e-6
    assert not torch.equal(got, inputs() @ weight.t())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_whole_numbers_are_summed_as_such_in_half_precision(dtype):
    made, x = layer("int-8"), inputs().to(dtype)
    levels, scales = made.packing.inputs.quantize(x)
    assert torch.equal(levels, levels.round()) and levels.aminmax() == (-128, 127)
    sums = levels.double() @ made.parts["weight"].double().t()
    exact = sums * scales.double() * made.get_buffer("weight_scale").double().view(-1)
    with torch.no_grad():
        torch.testing.assert_close(made(x).double(), exact, rtol=torch.finfo(dtype).eps, atol=0)
    assert made(x.requires_grad_()).grad_fn is not None


@pytest.mark.skipif(not int4_kernel.is_fast(), reason="the kernel is for processors with AVX2")
def test_the_kernel_of_4_bits_runs_packed_words(monkeypatch):
    values = round_to_nearest(
        torch.randn(32, 128, generator=torch.Generator().manual_seed(3)), GRID
    )
    made = QuantizedLinear(128, 32, PackQuantized(), bias=False)
    made.load_state_dict(made.packing.pack(values), assign=True)
    assert made.has_kernel(torch.bfloat16)
    x = torch.randn(2, 128, generator=torch.Generator().manual_seed(4))
    expected = x.bfloat16().float() @ values.dequantize().t()
    monkeypatch.setattr(QuantizedLinear, "dequantize", None)  # or else it would be unpacked
    with torch.no_grad():
        torch.testing.assert_close(made(x.bfloat16()).float(), expected, rtol=0.02, atol=0.1)


@every_case
def test_a_config_says_the_same_when_it_is_written_again(name):
    layout = CompressedTensorsLayout.from_config(config(name))
    again = CompressedTensorsLayout.from_config(layout.to_config())
    assert again == layout


@every_case
def test_scales_in_another_order_are_another_weight(name):
    moved = parts(name)
    scales = moved["weight_scale"]
    if scales.numel() == 1:
        pytest.skip("there is one scale")
    held = scales.view(torch.uint8) if scales.dtype.itemsize == 1 else scales
    moved["weight_scale"] = held.flip(0).view(scales.dtype)
    changed = packing(name).unpack(moved).dequantize()
    assert not torch.equal(changed.to(HELD[f"{name}.dense"].dtype), HELD[f"{name}.dense"])


def test_groups_that_are_no_runs_are_stored_with_their_index():
    weights = {"num_bits": 4, "type": "int", "group_size": 32, "actorder": "group"}
    told = config("pack-4")
    told["config_groups"]["group_0"]["weights"] = weights
    made = CompressedTensorsLayout.from_config(told).usual
    index = torch.arange(INTO, dtype=torch.int32) % 3
    values = Affine(
        levels=torch.arange(OUT * INTO).view(OUT, INTO).remainder(16).to(torch.uint8),
        scales=(torch.arange(OUT * 3).view(OUT, 3) + 1) / 64,
        zeros=torch.full((OUT, 3), 8),
        bits=4,
        group_size=32,
        group_index=index,
    )
    stored = made.pack(values)
    made.verify(stored, "a")
    assert torch.equal(stored["weight_g_idx"], index) and not made.has_runs(stored)
    assert torch.equal(made.unpack(stored).dequantize(), values.dequantize())
    with pytest.raises(ValueError, match="no runs"):
        packing("pack-4").pack(values)
