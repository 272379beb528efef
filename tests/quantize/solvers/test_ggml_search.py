"""The grid of a block type: what rounding on it costs."""

import pytest
import torch

from tests.quantize.solvers.llama_quantize import llama_quantize
from tfcli.models.layouts.ggml import GGML_TYPES
from tfcli.models.layouts.ggml_blocks import pack_blocks, unpack_blocks
from tfcli.quantize.solvers.ggml.grid import Grid, grid_of
from tfcli.quantize.solvers.ggml.search import search_grid
from tfcli.quantize.solvers.ggml.solve import round_into_blocks

KINDS = list(GGML_TYPES)


def drawn(rows=24, columns=512, seed=0):
    """Weights of rows of several sizes with a few large inputs, and what an error in each costs."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=draw) * torch.rand(rows, 1, generator=draw)
    weight[:, ::37] *= 3
    return weight, torch.randn(columns, generator=draw).mul(1.5).exp()


def cost_of_rows(values, weight, cost):
    return ((values.dequantize() - weight).square() * cost).sum(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_grid_holds_what_the_type_stores_and_no_more(kind):
    weight, cost = drawn()
    grid = search_grid(weight, cost[None], GGML_TYPES[kind])
    levels = grid.levels(weight)
    stored = grid.store(levels)
    again = unpack_blocks(pack_blocks(stored), kind)
    assert torch.equal(stored.dequantize(), grid.values(levels))
    assert torch.equal(again.dequantize(), grid.values(levels))


@pytest.mark.interop
@pytest.mark.parametrize("kind", KINDS)
def test_no_row_costs_more_than_with_llama_cpp(kind):
    """The cost is what an importance matrix is for: its sum over squared errors."""
    weight, cost = drawn()
    grid = search_grid(weight, cost[None], GGML_TYPES[kind])
    ours = cost_of_rows(grid.store(grid.levels(weight)), weight, cost)
    theirs = cost_of_rows(llama_quantize(weight, kind, cost), weight, cost)
    assert (ours <= theirs).all()
    assert ours.sum() < 0.97 * theirs.sum()


@pytest.mark.interop
@pytest.mark.parametrize("kind", KINDS)
def test_no_row_has_a_larger_error_than_with_llama_cpp_without_importance(kind):
    weight, _ = drawn()
    grid = search_grid(weight, torch.ones(1, weight.shape[1]), GGML_TYPES[kind])
    ours = cost_of_rows(grid.store(grid.levels(weight)), weight, torch.ones(1))
    theirs = cost_of_rows(llama_quantize(weight, kind), weight, torch.ones(1))
    assert (ours <= theirs).all()


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_blocks_share_are_fitted_together(kind):
    """Any of a grid's numbers moved alone makes rounding cost more, or as much."""
    weight, cost = drawn(rows=4)
    grid = search_grid(weight, cost[None], GGML_TYPES[kind])
    best = cost_of_rows(grid.store(grid.levels(weight)), weight, cost).sum()
    for more in (-1, 1):
        moved = Grid(grid.kind, grid.d, grid.scales + more, grid.dmin, grid.mins)
        if not grid.kind.wide:
            moved = Grid(grid.kind, grid.d * (1 + more / 50), grid.scales, grid.dmin, grid.mins)
        found = (moved.values(moved.levels(weight)) - weight).square() * cost
        assert found.sum() > best


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_cost_nothing_have_no_say(kind):
    """Half of the inputs cost a million times less: the others are served better."""
    weight, _ = drawn()
    cost = torch.ones(weight.shape[1])
    cost[::2] = 1e-6
    plain = search_grid(weight, torch.ones(1, len(cost)), GGML_TYPES[kind])
    grid = search_grid(weight, cost[None], GGML_TYPES[kind])

    def error(one):
        return (one.values(one.levels(weight)) - weight)[:, 1::2].square().sum()

    assert error(grid) < error(plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(2, 256),
        torch.full((2, 256), 0.25),
        torch.full((2, 256), -0.25),
        torch.eye(256)[:2] * 1000,
        torch.full((2, 256), 1e-8),
        torch.full((2, 256), 6e4),
    ],
    ids=["zeros", "constant", "negative", "one weight", "tiny", "huge"],
)
def test_any_weights_have_a_finite_grid(kind, weight):
    values = round_into_blocks(weight, kind)
    assert values.d.isfinite().all()
    assert values.dequantize().isfinite().all()
    # A level of the largest weight is the most that can be lost.
    assert (values.dequantize() - weight).abs().max() <= weight.abs().max()


def test_weights_on_a_grid_stay_there():
    """A weight that came from a file of llama.cpp is in it again, but for a few rounded numbers."""
    weight, _ = drawn()
    first = round_into_blocks(weight, "Q6_K")
    again = round_into_blocks(first.dequantize(), "Q6_K")
    lost = (again.dequantize() - first.dequantize()).square().mean()
    assert lost < 0.02 * (first.dequantize() - weight).square().mean()


def test_the_grid_of_a_stored_weight_is_its_own():
    weight, cost = drawn()
    grid = search_grid(weight, cost[None], GGML_TYPES["Q4_K"])
    levels = grid.levels(weight)
    assert torch.equal(grid_of(grid.store(levels)).values(levels), grid.values(levels))
