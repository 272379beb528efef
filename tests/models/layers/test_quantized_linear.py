"""The packed linear gives what its dequantized weight gives, whatever the groups and the dtype."""

import copy
import dataclasses
import io

import pytest
import torch
import torch.nn.functional as F

from tfcli.models.errors import ModelError
from tfcli.models.layers import int4_kernel
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.gptq import GPTQPacking, pack_zeros
from tfcli.models.layouts.values import runs
from tfcli.models.layouts.words import pack


def layer(n=96, m=64, bits=4, group_size=32, version="gptq", symmetric=True, shuffle=False, seed=0):
    """A random layer and its weight, computed one number at a time by the layout's formula."""
    generator = torch.Generator().manual_seed(seed)
    width = n if group_size == -1 else group_size
    groups = -(-n // width)
    levels = torch.randint(1 << bits, (n, m), generator=generator)
    zeros = torch.full((groups, m), 1 << (bits - 1))
    if not symmetric:
        zeros = torch.randint(1, 1 << bits, (groups, m), generator=generator)
    scales = (torch.rand(groups, m, generator=generator) + 0.1).half()
    index = runs(n, group_size)
    if shuffle:
        index = index[torch.randperm(n, generator=generator)]
    packed = QuantizedLinear(n, m, GPTQPacking(bits, group_size, symmetric, version), bias=True)
    packed.qweight = pack(levels, bits)
    packed.qzeros = pack_zeros(zeros, bits, version=version)
    packed.scales, packed.g_idx = scales, index
    packed.bias = torch.randn(m, generator=generator)
    weight = torch.empty(m, n)
    for i in range(n):
        for o in range(m):
            g = int(index[i])
            weight[o, i] = (int(levels[i, o]) - int(zeros[g, o])) * float(scales[g, o])
    return packed, weight


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [16, 32, 48, 64, -1])
def test_dequantizes_by_the_formula(bits, group_size):
    packed, weight = layer(bits=bits, group_size=group_size)
    assert torch.equal(packed.dequantize(), weight)


@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
def test_both_zero_point_conventions_and_any_order_of_groups(version):
    packed, weight = layer(version=version, symmetric=False, shuffle=True)
    assert packed.values.group_index is not None
    assert torch.equal(packed.dequantize(), weight)


def test_large_weights_are_unpacked_piece_by_piece(monkeypatch):
    monkeypatch.setattr("tfcli.models.layouts.values._PIECE", 32 * 64)
    for group_size in (16, 64, 96):
        packed, weight = layer(n=192, group_size=group_size, bits=3)
        assert torch.equal(packed.dequantize(), weight)


def test_forward_is_the_dense_layer():
    packed, weight = layer()
    x = torch.randn(2, 5, 96, requires_grad=True)

    out = packed(x)

    torch.testing.assert_close(out, F.linear(x, weight, packed.bias))
    out.sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(2, 5, 96))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_half_precision_is_as_near_as_a_dense_layer_of_that_precision(dtype, rows):
    packed, weight = layer(n=256, group_size=64)
    x = torch.randn(rows, 256, generator=torch.Generator().manual_seed(1)).to(dtype)
    exact = x.double() @ weight.double().t() + packed.bias.double()
    dense = F.linear(x, weight.to(dtype), packed.bias.to(dtype))

    with torch.no_grad():
        out = packed(x)

    assert out.dtype == dtype
    assert (out - exact).norm() < 1.5 * (dense - exact).norm()


def test_the_int4_kernel_serves_decoding_in_bf16_and_nothing_else(monkeypatch):
    calls = []
    monkeypatch.setattr(
        int4_kernel.Int4Weight, "__call__", lambda self, x: calls.append(1) or x.new_zeros(1, 64)
    )
    plain = layer(n=128, group_size=32)[0]
    for packed, rows, dtype, used in [
        (plain, 1, torch.bfloat16, True),
        (plain, 1, torch.float32, False),
        (plain, 1, torch.float16, False),
        (plain, int4_kernel.MOST_ROWS + 1, torch.bfloat16, False),
        (layer(n=128, bits=3)[0], 1, torch.bfloat16, False),
        (layer(n=128, group_size=16)[0], 1, torch.bfloat16, False),
        (layer(n=128, shuffle=True)[0], 1, torch.bfloat16, False),
        (layer(n=128, symmetric=False)[0], 1, torch.bfloat16, False),
    ]:
        calls.clear()
        packed(torch.ones(rows, 128, dtype=dtype))
        assert bool(calls) is used


def test_state_dict_gives_the_checkpoint_back_after_use():
    packed, _ = layer(n=128)
    before = copy.deepcopy(packed.state_dict())
    packed(torch.ones(1, 128, dtype=torch.bfloat16))
    after = packed.state_dict()
    assert list(after) == ["qweight", "qzeros", "scales", "g_idx", "bias"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_change_of_dtype_leaves_the_scales_alone():
    packed, weight = layer()
    packed.to(torch.bfloat16)
    assert packed.scales.dtype == torch.float16
    assert packed.bias.dtype == torch.bfloat16
    assert torch.equal(packed.dequantize(), weight)


def test_can_be_pickled_after_the_kernel_was_used():
    packed, weight = layer(n=128)
    packed(torch.ones(1, 128, dtype=torch.bfloat16))
    file = io.BytesIO()
    torch.save(packed, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False).dequantize(), weight)


def test_verify_finds_zero_points_of_the_other_format():
    packed, _ = layer()
    packed.verify("layer")
    packed.packing = dataclasses.replace(packed.packing, version="gptq_v2")
    with pytest.raises(ModelError, match=r"zero points are \[7\], not 8.*layer\.qzeros"):
        packed.verify("layer")


def test_verify_refuses_groups_that_do_not_exist_and_infinite_scales():
    packed, _ = layer()
    packed.g_idx[3] = 99
    with pytest.raises(ModelError, match=r"outside of 0 \.\. 2"):
        packed.verify("layer")
    packed.scales[0, 0] = float("inf")
    with pytest.raises(ModelError, match=r"not finite.*layer\.scales"):
        packed.verify("layer")
