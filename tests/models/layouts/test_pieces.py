"""A weight that is unpacked some outputs at a time is the one that is unpacked whole."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.layouts import packing as packings
from tfcli.models.layouts.awq import AWQPacking
from tfcli.models.layouts.compressed_tensors_int import IntQuantized
from tfcli.models.layouts.compressed_tensors_pack import PackQuantized
from tfcli.models.layouts.gptq import GPTQPacking
from tfcli.models.layouts.mlx import MLXPacking
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
    (n, m) for n, packing in CASES.items() for m in (160, 96, 40) if not packing.misfit(INPUTS, m)
]


@pytest.mark.parametrize(("name", "outputs"), FITTING)
def test_pieces_are_the_whole(monkeypatch, name, outputs):
    packing, inputs = CASES[name], INPUTS
    monkeypatch.setattr(packings, "_PIECE", 64 * inputs)
    torch.manual_seed(0)
    bits, width = packing.format.bits, packing.format.width(inputs)
    shape, top = (outputs, inputs // width), 1 << bits
    weight = Affine(
        levels=torch.randint(top, (outputs, inputs), dtype=torch.uint8),
        scales=torch.rand(shape).half() + 0.5,
        zeros=torch.randint(1, top, shape, dtype=torch.uint8),
        bits=bits,
        group_size=width,
    )
    parts = packing.pack(weight)
    pieces = list(packing.unpack_pieces(parts))
    heights = [piece.shape[0] for piece in pieces]
    assert heights == {160: [64, 64, 32], 96: [64, 32], 40: [40]}[outputs]
    whole = packing.unpack(parts).dequantize()
    assert torch.equal(torch.cat([piece.dequantize() for piece in pieces]), whole)
