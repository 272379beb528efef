"""The linear layer chooses how it multiplies; whatever it chooses is the same product."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tfcli.models import processor
from tfcli.models.layers.linear import MOST_16_BIT_ROWS, TILE, linear, product

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=[True, False], ids=["this processor", "no 16-bit products"])
def any_processor(request, monkeypatch):
    """The layer on this processor, and on one that has no 16-bit matrix instructions."""
    if not request.param:
        monkeypatch.setattr(processor, "_INSTRUCTIONS", {each: set() for each in DTYPES[1:]})
        processor.has_products.cache_clear()
    yield
    processor.has_products.cache_clear()


def at(tensor: torch.Tensor, offset: int) -> torch.Tensor:
    """The same values at an address that is `offset` bytes past a multiple of 64."""
    memory = torch.empty(tensor.nbytes + 128, dtype=torch.uint8)
    start = -memory.data_ptr() % 64 + offset
    placed = memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
    return placed.copy_(tensor)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 6), (6,), (2, 3, 6), (0, 6)])
def test_equals_torch(shape, bias):
    torch.manual_seed(0)
    layer, x = linear(6, 4, bias), torch.randn(shape)
    expected = F.linear(x, layer.weight, layer.bias)
    with torch.no_grad():
        assert torch.allclose(layer(x), expected, atol=1e-6)
    assert layer(x).shape == expected.shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, MOST_16_BIT_ROWS, MOST_16_BIT_ROWS + 1, 40])
@pytest.mark.parametrize("layout", ["as stored", "transposed"])
def test_every_type_and_number_of_rows_is_as_exact_as_torch(any_processor, dtype, rows, layout):
    torch.manual_seed(0)
    weight = torch.randn(48, 160) if layout == "as stored" else torch.randn(160, 48).t()
    x, weight, bias = torch.randn(rows, 160).to(dtype), weight.to(dtype), torch.randn(48).to(dtype)
    exact = F.linear(x.double(), weight.double(), bias.double())
    with torch.no_grad():
        out = product(x, weight, bias)
    assert out.dtype == dtype
    error = (F.linear(x, weight, bias) - exact).norm()
    assert (out - exact).norm() <= 1.5 * error


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_of_several_tiles_is_multiplied_whole(any_processor, dtype):
    torch.manual_seed(0)
    columns = 64
    x, weight = torch.randn(8, columns).to(dtype), torch.randn(2 * TILE // columns + 7, columns)
    weight = weight.to(dtype).requires_grad_()
    x.requires_grad_()
    out = product(x, weight, None)
    out.backward(torch.ones_like(out))
    tolerance = {"rtol": 2e-2, "atol": 2e-1 if dtype != torch.float32 else 1e-3}
    exact = F.linear(x.detach().double(), weight.detach().double())
    torch.testing.assert_close(out.detach().double(), exact, **tolerance)
    into_x, into_weight = weight.detach().double().sum(0), x.detach().double().sum(0)
    torch.testing.assert_close(x.grad.double(), into_x.expand(8, -1), rtol=2e-2, atol=2.0)
    torch.testing.assert_close(
        weight.grad.double(), into_weight.expand(len(weight), -1), **tolerance
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_the_bits_of_a_product_do_not_depend_on_where_the_weight_lies(any_processor, dtype, rows):
    """Experts of a stack and rows of a joined matrix begin at other addresses."""
    torch.manual_seed(0)
    x, weight = torch.randn(rows, 128).to(dtype), torch.randn(96, 128).to(dtype)
    with torch.no_grad():
        expected = product(x, at(weight, 0), None)
        for offset in (4, 8, 40):
            assert torch.equal(product(x, at(weight, offset), None), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 9])
def test_gradients_are_those_of_torch(any_processor, dtype, rows):
    torch.manual_seed(0)
    made = torch.randn(2, rows, 32), torch.randn(16, 32), torch.randn(16)
    grads = []
    for function in (product, F.linear):
        given = [each.to(dtype).requires_grad_() for each in made]
        function(*given).square().sum().backward()
        grads.append([each.grad for each in given])
    for ours, theirs in zip(*grads, strict=True):
        assert ours.dtype == dtype
        loose = 1e-5 if dtype == torch.float32 else 3e-2
        torch.testing.assert_close(ours, theirs, rtol=loose, atol=loose * 20)


@pytest.mark.parametrize("frozen", ["x", "weight"])
def test_only_what_is_trained_gets_a_gradient(any_processor, frozen):
    for dtype in DTYPES:
        x, weight = torch.randn(9, 32).to(dtype), torch.randn(16, 32).to(dtype)
        trained = weight if frozen == "x" else x
        trained.requires_grad_()
        product(x, weight, None).sum().backward()
        assert trained.grad is not None
        assert (x.grad is None) == (frozen == "x")


def test_gradients_of_gradients_are_right():
    x, weight = torch.randn(3, 5).requires_grad_(), torch.randn(4, 5).requires_grad_()
    seconds = []
    for function in (product, F.linear):
        (first,) = torch.autograd.grad(
            function(x, weight, None).pow(3).sum(), weight, create_graph=True
        )
        seconds.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*seconds)


def test_autocast_decides_the_dtype():
    layer, x = linear(6, 4, False), torch.randn(1, 6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == layer(torch.randn(2, 6)).dtype == torch.bfloat16


def test_who_traces_the_layer_sees_torchs_own_operator():
    layer = linear(6, 4, True)
    program = torch.export.export(layer, (torch.randn(2, 6),))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert targets == {"aten.linear.default"}
    mapped = torch.vmap(layer)(torch.ones(3, 6))
    torch.testing.assert_close(mapped, layer(torch.ones(3, 6)))


def test_the_meta_device_gives_shapes():
    layer = linear(6, 4, True).to("meta")
    assert layer(torch.empty(2, 6, device="meta")).shape == (2, 4)


def test_a_switch_of_onednn_stays_as_it_was_set():
    layer, x = linear(6, 4, True).bfloat16(), torch.ones(1, 6, dtype=torch.bfloat16)
    for enabled in (False, True):
        torch._C._set_mkldnn_enabled(enabled)
        try:
            with torch.no_grad():
                layer(x)
            assert torch.backends.mkldnn.enabled is enabled
        finally:
            torch._C._set_mkldnn_enabled(True)


def test_a_compiler_sees_one_graph_without_the_choice():
    layer = linear(6, 4, True)
    for x in (torch.randn(1, 6), torch.randn(9, 6)):
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), layer(x))
