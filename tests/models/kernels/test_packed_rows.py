"""Packed weights multiply as the dense weights that their levels stand for."""

from __future__ import annotations

import pickle

import pytest
import torch

from tfcli.models.errors import ModelError
from tfcli.models.kernels import library
from tfcli.models.kernels.packed_rows import PackedRows

# Outputs and inputs that fill blocks of 16 and units of 32, and that do not.
SHAPES = [
    (64, 512, 128),
    (16, 64, 16),
    (33, 256, 256),
    (5, 96, 32),
    (7, 200, 64),  # the last group is short
    (18, 100, 100),  # no group fills a unit
    (3, 102, 51),
    (1, 31, 31),
]
ZEROS = ["middle", "integer", "half", "float"]


def drawn(m, n, group, bits, zeros="middle", scales=torch.float16):
    """Levels, scales and zero points, and the dense weight in float32."""
    torch.manual_seed(m * n + bits)
    groups = -(-n // group)
    levels = torch.randint(1 << bits, (m, n), dtype=torch.uint8)
    scale = (torch.rand(m, groups) + 0.5).to(scales)
    zero = {
        "middle": None,
        "integer": torch.randint(1 << bits, (m, groups)),
        "half": (torch.rand(m, groups) * (1 << bits)).half(),
        "float": torch.rand(m, groups) * (1 << bits),
    }[zeros]
    column = torch.arange(n) // group
    shift = float(1 << (bits - 1)) if zero is None else zero.float()[:, column]
    return levels, scale, zero, (levels.float() - shift) * scale.float()[:, column]


def error(found, exact):
    return ((found.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("zeros", ZEROS)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_shape_comes_back_as_it_was_and_multiplies_within_its_bound(level, bits, zeros):
    for m, n, group in SHAPES:
        levels, scale, zero, dense = drawn(m, n, group, bits, zeros)
        weight = PackedRows.of(levels, scale, zero, bits=bits, group_size=group)
        assert torch.equal(weight.dequantize(), dense)
        for rows in (1, 2, 3, 8, 13):
            x = torch.randn(rows, n)
            product = x.double() @ dense.double().T
            size = x.double().abs() @ dense.double().abs().T
            assert ((weight(x, exact=True) - product).abs() <= 4e-6 * size).all()
            # Every input is off by at most half a step of its block, 1/254 of the largest there.
            most = x.abs().amax(-1, keepdim=True).double() / 254 * dense.double().abs().sum(-1)
            assert ((weight(x) - product).abs() <= most + 4e-6 * size).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounded_inputs_cost_less_than_a_percent(level, bits):
    levels, scale, zero, dense = drawn(256, 2048, 128, bits, "integer")
    weight = PackedRows.of(levels, scale, zero, bits=bits, group_size=128)
    x = torch.randn(8, 2048)
    assert 1e-4 < error(weight(x), x.double() @ dense.double().T) < 1e-2


def test_an_outlier_spoils_its_own_block_of_32_alone(level):
    levels, scale, _, dense = drawn(64, 512, 128, 4)
    weight = PackedRows.of(levels, scale, None, bits=4, group_size=128)
    x = torch.randn(1, 512)
    x[0, 5] = 1000
    difference = (weight(x).double() - x.double() @ dense.double().T).norm()
    # In blocks of 128 the difference is twice as large: four times as many inputs round to nothing.
    assert difference < 1.2 * (x[:, :32].double() * (x[:, :32] < 999)).norm() * dense[0].norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_result_is_rounded_once_to_the_type_of_the_input(level, dtype):
    levels, scale, _, dense = drawn(48, 256, 64, 4)
    weight = PackedRows.of(levels, scale, None, bits=4, group_size=64)
    x, bias = torch.randn(2, 3, 256).to(dtype), torch.randn(48).to(dtype)
    product = x.double() @ dense.double().T
    assert weight(x).dtype == dtype and weight(x).shape == (2, 3, 48)
    step = {torch.float32: 1e-6, torch.bfloat16: 2e-3, torch.float16: 3e-4}[dtype]
    assert error(weight(x, exact=True), product) < step
    assert error(weight(x, bias, exact=True), product + bias.double()) < step
    assert error(weight(x, bias), product + bias.double()) < 1e-2
    assert torch.equal(weight.dequantize(dtype, slice(3, 40)), dense[3:40].to(dtype))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_bits_of_a_row_do_not_depend_on_threads_or_other_rows(level, bits, exact):
    levels, scale, zero, _ = drawn(330, 512, 128, bits, "float")
    weight = PackedRows.of(levels, scale, zero, bits=bits, group_size=128)
    x = torch.randn(13, 512)
    threads = torch.get_num_threads()
    try:
        found = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(weight(x, exact=exact))
            found += [torch.cat([weight(x[i : i + 1], exact=exact) for i in range(13)])]
            found += [torch.cat([weight(x[:4], exact=exact), weight(x[4:], exact=exact)])]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, found[0]) for each in found)


def test_the_largest_levels_and_inputs_do_not_overflow(level):
    for bits in (2, 3, 4, 8):
        for value in (0, (1 << bits) - 1):
            levels = torch.full((16, 4096), value, dtype=torch.uint8)
            weight = PackedRows.of(levels, torch.ones(16, 1), None, bits=bits, group_size=4096)
            for x in (torch.full((2, 4096), 3.0), torch.full((2, 4096), -3.0)):
                assert torch.allclose(weight(x), x @ weight.dequantize().T, rtol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(level, value):
    levels, scale, _, _ = drawn(16, 64, 32, 4)
    weight = PackedRows.of(levels, scale, None, bits=4, group_size=32)
    x = torch.ones(2, 64)
    x[1, 40] = value
    assert weight(x).isfinite().all(-1).tolist() == [True, False]
    assert not weight(x)[1].isfinite().any()


def test_inputs_of_zero_and_none_at_all(level):
    levels, scale, _, _ = drawn(16, 64, 32, 4)
    weight = PackedRows.of(levels, scale, None, bits=4, group_size=32)
    assert torch.equal(weight(torch.zeros(3, 64)), torch.zeros(3, 16))
    assert torch.equal(weight(torch.full((1, 64), 1e-40)), torch.zeros(1, 16))
    assert weight(torch.ones(0, 64)).shape == (0, 16)


@pytest.mark.parametrize(("bits", "width"), [(2, 2), (3, 3), (4, 4), (8, 8)])
def test_a_weight_takes_its_bits_and_its_scales(level, bits, width):
    levels, scale, zero, _ = drawn(64, 512, 128, bits, "integer")
    weight = PackedRows.of(levels, scale, zero, bits=bits, group_size=128)
    assert weight.nbytes == 64 * 512 * width // 8 + 64 * 4 * (2 + 1)
    exact = PackedRows.of(levels, scale.float() + 1e-6, None, bits=bits, group_size=128)
    assert exact.scales.dtype == torch.float32


def test_groups_that_do_not_fill_a_unit_take_the_width_that_is_smallest(level):
    """16 levels of 3 bits would take a unit of 32: at 4 bits they take 8 bytes, not 12."""
    levels, scale, _, _ = drawn(16, 64, 16, 3)
    weight = PackedRows.of(levels, scale, None, bits=3, group_size=16)
    assert weight.levels.numel() == 16 * 64 * 4 // 8


def test_a_copy_by_pickle_multiplies_alike(level):
    levels, scale, zero, _ = drawn(16, 64, 32, 4, "half")
    weight, x = PackedRows.of(levels, scale, zero, bits=4, group_size=32), torch.randn(1, 64)
    expected = weight(x)
    assert torch.equal(pickle.loads(pickle.dumps(weight))(x), expected)


def test_a_compiler_sees_one_operator(level):
    levels, scale, zero, _ = drawn(16, 64, 32, 4, "half")
    weight, x = PackedRows.of(levels, scale, zero, bits=4, group_size=32), torch.randn(2, 64)
    compiled = torch.compile(lambda x: weight(x) + 1, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), weight(x) + 1)


def test_what_does_not_belong_together_is_refused(level):
    levels, scale, zero, _ = drawn(16, 64, 32, 4, "integer")
    with pytest.raises(ModelError, match="do not go with scales"):
        PackedRows.of(levels, scale[:, :1], None, bits=4, group_size=32)
    with pytest.raises(ModelError, match="do not go with zeros"):
        PackedRows.of(levels, scale, zero[:3], bits=4, group_size=32)
    with pytest.raises(ModelError, match="5 bits"):
        PackedRows.of(levels, scale, None, bits=5, group_size=32)
    with pytest.raises(ModelError, match="does not fit in 3 bits"):
        PackedRows.of(levels | 8, scale, None, bits=3, group_size=32)
    weight = PackedRows.of(levels, scale, None, bits=4, group_size=32)
    with pytest.raises(ModelError, match="64 inputs"):
        weight(torch.ones(2, 32))
    with pytest.raises(ModelError, match="float64"):
        weight(torch.ones(2, 64, dtype=torch.float64))
    with pytest.raises(ModelError, match="bias"):
        weight(torch.ones(2, 64), torch.ones(15))
    with pytest.raises(ModelError, match="gradient"):
        weight(torch.ones(2, 64, requires_grad=True))


def test_without_kernels_the_reason_is_said(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "off")
    levels, scale, _, _ = drawn(16, 64, 32, 4)
    with pytest.raises(ModelError, match="TFCLI_KERNELS is off"):
        PackedRows.of(levels, scale, None, bits=4, group_size=32)


@pytest.mark.parametrize("later", ["middle", "integer", "float"])
def test_a_weight_that_comes_in_pieces_is_the_whole_one(level, later):
    """Also where the types that hold zero points and scales differ from piece to piece."""
    one = drawn(32, 96, 32, 4)
    two = drawn(21, 96, 32, 4, later, scales=torch.float32)
    pieces = [(*one[:3],), (*two[:3],)]
    weight = PackedRows.of_pieces(iter(pieces), 53, bits=4, group_size=32)
    assert torch.equal(weight.dequantize(), torch.cat([one[3], two[3]]))
    x = torch.randn(3, 96)
    halves = [PackedRows.of(*piece, bits=4, group_size=32)(x) for piece in pieces]
    assert torch.equal(weight(x), torch.cat(halves, -1))
