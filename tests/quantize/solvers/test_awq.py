"""AWQ's search beside a slow one that computes outputs, and what it promises."""

from __future__ import annotations

import pytest
import torch

from tfcli.errors import WorkError
from tfcli.quantize.solvers.awq import RATIOS, Reader, Seen, clipped, search_factors
from tfcli.quantize.solvers.grid import GridOptions
from tfcli.quantize.solvers.rtn import round_to_nearest

GRID = GridOptions(4, 32, symmetric=False)


def layer(rows=24, inputs=64, tokens=200, seed=0):
    """Correlated inputs of very unlike sizes, as those of language models are."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randn(inputs, generator=generator).mul(1.2).exp()
    hidden = torch.randn(tokens, 8, generator=generator)
    mixed = hidden @ torch.randn(8, inputs, generator=generator)
    x = (torch.randn(tokens, inputs, generator=generator) + 0.5 * mixed) * sizes
    weight = torch.randn(rows, inputs, generator=generator)
    return weight, x


def seen_of(x, width=None):
    seen = Seen.nothing(x.shape[-1], width)
    for batch in x.split(70):
        seen.add(batch)
    return seen


def output_error(weight, values, x):
    return ((values - weight) @ x.t()).square().sum().item() / len(x)


def test_what_was_seen_gives_the_error_of_the_outputs():
    weight, x = layer()
    change = torch.randn_like(weight)
    seen = seen_of(x)
    assert seen.cost(change) == pytest.approx(output_error(0, change, x), rel=1e-4)
    torch.testing.assert_close(seen.sizes, x.abs().mean(0))
    factors = torch.rand(64) + 0.5
    folded = seen.folded(factors)
    assert folded.cost(change) == pytest.approx(output_error(0, change, x / factors), rel=1e-4)


def test_products_within_groups_are_those_of_the_whole_matrix():
    _, x = layer()
    whole, within = seen_of(x), seen_of(x, 32)
    for group in range(2):
        torch.testing.assert_close(within.within(group, 32), whole.within(group, 32))
    change = torch.zeros(3, 64)
    change[:, 32:] = torch.randn(3, 32)
    assert within.cost(change) == pytest.approx(whole.cost(change), rel=1e-4)


def test_the_factors_are_those_that_a_search_over_outputs_finds():
    """The reference multiplies out what each candidate does to the outputs."""
    weight, x = layer()
    sizes = x.abs().mean(0)
    groups = weight.abs().view(24, 2, 32)
    shares = (groups / (groups.amax(-1, keepdim=True) + 1e-6)).flatten(1).mean(0)
    candidates = [sizes**ratio for ratio in RATIOS]
    candidates += [sizes**ratio / (shares ** (1 - ratio) + 1e-4) for ratio in RATIOS]
    errors = [
        output_error(weight, round_to_nearest(weight * s, GRID).dequantize() / s, x)
        for s in (c / c.log().mean().exp() for c in candidates)
    ]
    found = search_factors([Reader(weight, seen_of(x))], GRID)
    assert found.after == pytest.approx(min(errors), rel=1e-3)
    assert found.before == pytest.approx(
        output_error(weight, round_to_nearest(weight, GRID).dequantize(), x), rel=1e-3
    )
    assert found.after < 0.8 * found.before
    best = candidates[errors.index(min(errors))]
    torch.testing.assert_close(found.factors, best / best.log().mean().exp(), rtol=1e-3, atol=1e-4)


def test_inputs_that_share_a_factor_get_one():
    weight, x = layer()
    shared = torch.arange(64) // 2
    factors = search_factors([Reader(weight, seen_of(x))], GRID, shared).factors
    assert torch.equal(factors[::2], factors[1::2])
    assert len(factors.unique()) > 20


def test_an_input_that_is_never_active_moves_no_other():
    weight, x = layer()
    x[:, 5] = 0
    factors = search_factors([Reader(weight, seen_of(x))], GRID).factors
    assert torch.isfinite(factors).all()
    assert (factors > 0).all()


def test_readers_that_nothing_was_seen_of_have_no_say():
    weight, x = layer()
    unseen = Reader(torch.randn(8, 64), Seen.nothing(64, 32))
    alone = search_factors([Reader(weight, seen_of(x))], GRID)
    assert search_factors([unseen], GRID).factors is None
    both = search_factors([Reader(weight, seen_of(x)), unseen], GRID)
    assert torch.equal(both.factors, alone.factors)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [3, 4])
def test_clipping_lowers_the_error_of_outputs_and_more_sweeps_lower_it_further(bits, symmetric):
    weight, x = layer()
    grid, seen = GridOptions(bits, 32, symmetric), seen_of(x)
    errors = [
        output_error(weight, clipped(weight, seen, grid, sweeps).dequantize(), x)
        for sweeps in (0, 1, 2)
    ]
    plain = output_error(weight, round_to_nearest(weight, grid).dequantize(), x)
    assert errors[0] == pytest.approx(plain)
    assert errors[1] < 0.97 * errors[0]
    assert errors[2] <= errors[1]


def test_each_groups_range_is_chosen_with_regard_to_the_other_groups_errors():
    """It finds no more than what looking at each group by itself finds."""
    weight, x = layer(seed=4)
    alone = output_error(weight, clipped(weight, seen_of(x, 32), GRID).dequantize(), x)
    together = output_error(weight, clipped(weight, seen_of(x), GRID).dequantize(), x)
    assert together < alone


def test_narrow_groups_find_their_products_within_wide_ones():
    _, x = layer()
    wide, narrow = seen_of(x, 32), seen_of(x, 16)
    for group in range(4):
        torch.testing.assert_close(wide.within(group, 16), narrow.within(group, 16))


def test_readers_are_rounded_to_their_own_grids():
    weight, x = layer()
    coarse = GridOptions(3, 16)
    own = search_factors([Reader(weight, seen_of(x), coarse)], GRID)
    assert own.before == search_factors([Reader(weight, seen_of(x))], coarse).before
    assert own.before > search_factors([Reader(weight, seen_of(x))], GRID).before


def test_inputs_that_are_not_finite_are_named():
    seen = seen_of(torch.full((3, 64), torch.inf))
    with pytest.raises(WorkError, match="not finite") as error:
        seen.require_finite("a.weight")
    assert error.value.where == "a.weight"
