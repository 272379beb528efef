"""A weight that is unpacked some outputs at a time is the one that is unpacked whole."""

from __future__ import annotations

import pytest
import torch

from tests.held import Held
from tfcli.models.kernels.library import library
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts import packing as packings
from tfcli.models.layouts.awq import AWQPacking
from tfcli.models.layouts.compressed_tensors_int import IntQuantized
from tfcli.models.layouts.compressed_tensors_pack import PackQuantized
from tfcli.models.layouts.gptq import GPTQPacking
from tfcli.models.layouts.mlx import MLXPacking
from tfcli.models.layouts.packing import buffer_of
from tfcli.models.layouts.torchao_int import TorchAOInt
from tfcli.models.layouts.values import Affine

CASES = {
    **{f"gptq, {bits} bits": GPTQPacking(bits, 32, False, "gptq") for bits in (2, 3, 4, 8)},
    "gptq, one group a row": GPTQPacking(4, -1, False, "gptq_v2"),
    "awq": AWQPacking(32),
    "compressed-tensors": PackQuantized(bits=4, group_size=32, symmetric=False),
    "compressed-tensors, bytes": IntQuantized(bits=8, group_size=32, symmetric=False),
    "mlx": MLXPacking(4, 32, torch.float32),
    "torchao": TorchAOInt(bits=8, group_size=32, symmetric=False),
}


INPUTS = 64
FITTING = [
    (n, m)
    for n, packing in CASES.items()
    for m in (160, 96, 80, 40)
    if not packing.misfit(INPUTS, m)
]


def drawn(packing, outputs, inputs=INPUTS):
    torch.manual_seed(0)
    bits, width = packing.format.bits, packing.format.width(inputs)
    shape, top = (outputs, inputs // width), 1 << bits
    return Affine(
        levels=torch.randint(top, (outputs, inputs), dtype=torch.uint8),
        scales=torch.rand(shape).half() + 0.5,
        zeros=torch.randint(1, top, shape, dtype=torch.uint8),
        bits=bits,
        group_size=width,
    )


@pytest.mark.parametrize(("name", "outputs"), FITTING)
def test_pieces_are_the_whole(monkeypatch, name, outputs):
    packing, inputs = CASES[name], INPUTS
    monkeypatch.setattr(packings, "_PIECE", 64 * inputs)
    parts = packing.pack(drawn(packing, outputs))
    pieces = list(packing.unpack_pieces(parts))
    heights = [piece.shape[0] for piece in pieces]
    assert heights == {160: [64, 64, 32], 96: [64, 32], 80: [64, 16], 40: [40]}[outputs]
    whole = packing.unpack(parts).dequantize()
    assert torch.equal(torch.cat([piece.dequantize() for piece in pieces]), whole)


BY_ROW = [name for name in CASES if set(CASES[name].output_axes.values()) == {0}]


@pytest.mark.parametrize("name", BY_ROW)
def test_any_number_of_rows_comes_in_pieces(monkeypatch, name):
    """As vocabularies have it: 50,257 words are no multiple of anything."""
    packing = CASES[name]
    monkeypatch.setattr(packings, "_PIECE", 64 * INPUTS)
    parts = packing.pack(drawn(packing, 151))
    pieces = list(packing.unpack_pieces(parts))
    heights = [piece.shape[0] for piece in pieces]
    # Zero points that are packed along the outputs fill up their last word.
    assert heights == ([151] if name == "compressed-tensors" else [64, 64, 23])
    assert torch.equal(
        torch.cat([piece.dequantize() for piece in pieces]), packing.unpack(parts).dequantize()
    )


@pytest.mark.skipif(library() is None, reason="there are no kernels here")
@pytest.mark.parametrize("bits", [4, 8])
def test_a_wide_head_takes_the_kernels_form_without_a_dense_copy(bits):
    """Beside the two packed forms no more than a piece is held at a time."""
    packing = MLXPacking(bits, 32, torch.float32)
    rows, inputs = 50_257, 128
    weight = drawn(packing, rows, inputs)
    layer = QuantizedLinear(inputs, rows, packing, bias=False)
    for part, value in packing.pack(weight).items():
        layer.get_buffer(buffer_of(part)).copy_(value)
    with Held() as held:
        made = layer.for_kernels()
    assert made is not None and torch.equal(made.weight.dequantize(), weight.dequantize())
    beside = held.most - made.weight.nbytes
    # The levels of a piece, and what they are unpacked from as int32; of the whole, as many bytes
    # as weights would be levels alone.
    assert beside < 6 * packings._PIECE < rows * inputs
