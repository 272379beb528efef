"""How chance is told from a difference, by runs that are drawn: what is true of them is known."""

import random
from itertools import combinations

import pytest

from tests.benchmark.made import result, row
from tfcli.benchmark.compare import Matched, compare
from tfcli.benchmark.noise import LEVEL, chance_of, least_chance, rounds_for


@pytest.mark.parametrize(
    ("before", "after"),
    [([1, 2, 3], [4, 5, 6]), ([1, 4, 2], [3, 5, 6, 7]), ([5], [1, 2, 9]), ([3, 4], [1, 2])],
)
def test_the_chance_is_that_of_all_ways_to_deal_values_out(before, after):
    values = before + after

    def larger(chosen):
        others = list(values)
        for value in chosen:
            others.remove(value)
        return sum(b > a for a in others for b in chosen)

    dealt = [larger(chosen) for chosen in combinations(values, len(after))]
    expected = sum(each >= larger(after) for each in dealt) / len(dealt)
    assert chance_of(before, after) == pytest.approx(expected)


def test_equal_values_are_no_difference():
    assert chance_of([1.0] * 5, [1.0] * 5) == 1


def test_many_rounds_are_counted_as_well():
    chance = chance_of(range(150), [value + 0.5 for value in range(150)])
    assert 0.4 < chance < 0.5


def test_rounds_that_can_tell():
    assert least_chance(3, 3) == 1 / 20
    asked = ((3, 1), (5, 5), (5, 12), (7, 90))
    assert [rounds_for(*each) for each in asked] == [3, 4, 5, 7]
    for before, rows in ((3, 4), (6, 30)):  # and no fewer can
        rounds = rounds_for(before, rows)
        assert least_chance(before, rounds) <= LEVEL / rows < least_chance(before, rounds - 1)


ROWS, ROUNDS = 5, 10


def drawn(rng, *, slower=1.0, machine=1.0):
    """A run of some rows on a machine that is disturbed now and then, and may be slow itself."""
    pace = [machine * rng.lognormvariate(0, 0.02) for _ in range(ROUNDS)]
    rows = []
    for number in range(ROWS):
        times = []
        for each in pace:
            disturbed = 1.5 if rng.random() < 0.05 else 1.0
            times.append(0.1 * each * disturbed * rng.lognormvariate(0, 0.03))
        factor = slower if number == 0 else 1.0
        bound = {"bound": "memory", "share": 0.5, "work": 10**8}
        rows.append(row(times=tuple(factor * each for each in times), length=number + 1, **bound))
    reading = [1e10 / pace[min(number, ROUNDS - 1)] for number in range(ROUNDS + 1)]
    return result(*rows, reading=tuple(reading))


def alarms(rng, runs, **after):
    """In how many comparisons any row regressed, and in how many the first one did."""
    some = first = 0
    for _ in range(runs):
        before = drawn(rng)
        matched = Matched(before, dict(enumerate(before.rows)), [])
        found = compare(drawn(rng, **after), matched, 0.05)
        some += any(each.regressed for each in found)
        first += found[0].regressed
    return some / runs, first / runs


def test_equal_programs_raise_few_alarms():
    rng = random.Random(0)
    assert alarms(rng, 300)[0] <= LEVEL
    # A machine that is a fifth slower all day is no slower program.
    assert alarms(rng, 300, machine=1.2)[0] <= LEVEL


def test_a_slower_program_is_found():
    rng = random.Random(1)
    _, found = alarms(rng, 200, slower=1.15)
    assert found > 0.9
    _, found = alarms(rng, 200, slower=1.02)  # less than is asked for
    assert found < 0.05
