"""The knapsack of bits: within its budget, and as good as trying everything."""

import itertools
import random

import pytest

from tfcli.quantize.budget.solve import Way, allocate


def groups_of(seed, count=6):
    """Widths whose harm falls about fourfold with each bit, as rounding errors do."""
    draw = random.Random(seed)
    groups = []
    for _ in range(count):
        weights, harm = draw.choice([100, 400, 1000]), draw.uniform(0.1, 10)
        groups.append(
            {
                f"{bits}": Way(weights * bits + draw.randrange(9), harm * 4.0**-bits)
                for bits in (2, 3, 4, 8)
            }
        )
    return groups


def totals(groups, chosen):
    ways = [ways[name] for ways, name in zip(groups, chosen, strict=True)]
    return sum(way.nbytes for way in ways), sum(way.harm for way in ways)


def least_harm(groups, budget):
    every = (totals(groups, chosen) for chosen in itertools.product(*groups))
    return min(harm for nbytes, harm in every if nbytes <= budget)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_it_stays_in_the_budget_and_makes_the_best_choice(seed, share):
    groups = groups_of(seed)
    low = sum(min(way.nbytes for way in ways.values()) for ways in groups)
    high = sum(max(way.nbytes for way in ways.values()) for ways in groups)
    budget = int(low + share * (high - low))
    nbytes, harm = totals(groups, allocate(groups, budget))
    assert nbytes <= budget
    assert harm == pytest.approx(least_harm(groups, budget))


def test_a_width_that_takes_more_and_errs_more_is_never_chosen():
    groups = [{"good": Way(10, 1.0), "bad": Way(20, 2.0), "best": Way(30, 0.5)}]
    assert allocate(groups, 25) == ["good"]
    assert allocate(groups, 30) == ["best"]


def test_a_large_budget_is_counted_in_steps_and_still_kept_to():
    groups = [
        {name: Way(1_000_000 * way.nbytes + 7, way.harm) for name, way in ways.items()}
        for ways in groups_of(0)
    ]
    budget = 12_345_678_901
    nbytes, harm = totals(groups, allocate(groups, budget))
    assert nbytes <= budget
    assert harm <= least_harm(groups, int(0.999 * budget))


def test_where_nothing_is_harmed_the_fewest_bytes_are_taken():
    assert allocate([{"few": Way(1, 0.0), "many": Way(2, 0.0)}], 9) == ["few"]
