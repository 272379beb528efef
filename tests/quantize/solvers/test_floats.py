"""Small floats: what compressed-tensors' own code rounds to, and where we are nearer."""

import pytest
import torch

from tests.quantize.golden.compressed_tensors_cases import weight
from tests.quantize.test_compressed_tensors import packing, parts
from tfcli.models.layouts.compressed_tensors import CompressedTensorsLayout
from tfcli.models.layouts.elements import (
    E2M1,
    decode_e2m1,
    decode_e8m0,
    encode_e2m1,
    encode_e8m0,
    round_e2m1,
)
from tfcli.models.layouts.floats import FloatFormat
from tfcli.quantize.solvers.floats import round_to_floats


def form(name: str) -> FloatFormat:
    found = packing(name).format
    return FloatFormat(found.bits, found.group_size, found.outputs, found.scale)


@pytest.mark.parametrize("name", ["fp8-tensor", "fp8-channel", "fp8-block", "mxfp8"])
def test_8_bit_floats_are_those_of_the_library(name):
    values = round_to_floats(weight(), form(name))
    stored = CompressedTensorsLayout.packing_for(form(name)).pack(values)
    for part, ours in stored.items():
        assert torch.equal(ours.view(torch.uint8), parts(name)[part].view(torch.uint8)), part


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4"])
def test_4_bit_floats_are_nearer_in_every_group_or_as_near(name):
    dense = weight()
    size = form(name).group_size

    def errors(found):
        return (found.float() - dense).square().unflatten(1, (-1, size)).sum(-1)

    values = round_to_floats(dense, form(name))
    ours, theirs = (
        errors(values.dequantize()),
        errors(packing(name).unpack(parts(name)).dequantize()),
    )
    assert (ours <= theirs * (1 + 1e-6)).all()
    assert ours.sum() < 0.99 * theirs.sum()
    stored = CompressedTensorsLayout.packing_for(form(name)).pack(values)
    again = packing(name).unpack(stored)
    assert torch.equal(again.dequantize(), values.dequantize())


def test_every_4_bit_number_has_its_code_and_ties_go_to_the_even_one():
    numbers = torch.tensor([[*E2M1, *(-level for level in E2M1)]])
    packed = encode_e2m1(numbers)
    assert packed.tolist() == [[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]]
    assert torch.equal(decode_e2m1(packed).float(), numbers)
    between = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, -0.2])
    assert round_e2m1(between).tolist() == [0, 1, 1, 2, 2, 4, 4, 6, 0]
    assert torch.signbit(round_e2m1(between))[-1]
    with pytest.raises(ValueError, match="4 bits do not hold"):
        encode_e2m1(torch.tensor([[0.25, 1.0]]))


def test_powers_of_two_have_their_exponents_down_to_the_least():
    exponents = torch.arange(255, dtype=torch.uint8)
    powers = decode_e8m0(exponents)
    assert powers.tolist() == [2.0 ** (exponent - 127) for exponent in range(255)]
    assert torch.equal(encode_e8m0(powers), exponents)
    with pytest.raises(ValueError, match="no power of two"):
        encode_e8m0(torch.tensor([3.0]))


@pytest.mark.parametrize(
    "made",
    [
        FloatFormat(8, -1, 1),
        FloatFormat(8, -1, -1),
        FloatFormat(8, 128, 128),
        FloatFormat(4, 32, scale="e8m0"),
        FloatFormat(4, 16, scale="e4m3"),
    ],
    ids=str,
)
def test_a_weight_of_zeros_stays_zeros_and_no_scale_is_odd(made):
    for weight_ in (torch.zeros(5, 96), torch.full((5, 96), 1e-30)):
        values = round_to_floats(weight_, made)
        assert torch.isfinite(values.dequantize()).all()
        assert values.dequantize().abs().max() <= 2e-30
        stored = CompressedTensorsLayout.packing_for(made).pack(values)
        CompressedTensorsLayout.packing_for(made).verify(stored, "a")


def test_blocks_that_are_cut_off_have_scales_of_their_own():
    dense = torch.ones(200, 130)
    dense[128:] *= 7
    dense[:, 128:] *= 3
    values = round_to_floats(dense, FloatFormat(8, 128, 128))
    assert values.scales.shape == (2, 2)
    torch.testing.assert_close(values.dequantize(), dense)
    torch.testing.assert_close(values.rows(100, 150), dense[100:150])
