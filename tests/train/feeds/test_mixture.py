"""Which examples a mixture has: shares, orders, what starts over, what a resumed run sees."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from tests.train.feeds.test_rows import SIZES, samples
from tfcli.train.feeds.feed import Endless, Feed
from tfcli.train.feeds.grouping import PackedSource
from tfcli.train.feeds.mixture import Mixture, Turns, joined
from tfcli.train.feeds.rows import RowSource
from tfcli.train.objectives.causal_lm import CausalLM

SMALL, LARGE = 7, 46


def mixture(weights=(0.7, 0.3)) -> Mixture:
    """Rows 0 to 6 from one source, the other 46 from another."""
    every = samples(SIZES, length=32)
    parts = every.taking(np.arange(SMALL)), every.taking(np.arange(SMALL, SMALL + LARGE))
    sources = [RowSource(part, seed) for seed, part in enumerate(parts)]
    return Mixture(sources, weights, SMALL + LARGE)


def rows_of(examples) -> list[int]:
    return [int(each["input_ids"][0]) // 100 for each in examples]


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1, 1), (1, 2, 4), (5, 0.001), (0.1234567, 1)])
def test_every_source_has_its_share_at_any_time(weights):
    turns = Turns(weights)
    shares = np.array(weights) / sum(weights)
    for number in (1, 2, 3, 10, 97, 1000, 12345, 300_000):
        assert np.abs(turns.before(number) - number * shares).max() <= max(2, number * 1e-5)
        assert turns.before(number).sum() == number
    first = turns.between(90, 190)
    counted = np.bincount(first, minlength=len(weights))
    assert counted.tolist() == (turns.before(190) - turns.before(90)).tolist()


def test_a_source_that_is_used_up_begins_again_in_another_order():
    seen = rows_of(Endless(mixture()).items(0, 1000))
    small = [row for row in seen if row < SMALL]
    large = [row for row in seen if row >= SMALL]
    assert (len(small), len(large)) == (700, 300)
    rounds = [tuple(small[at : at + SMALL]) for at in range(0, 700, SMALL)]
    assert all(sorted(each) == list(range(SMALL)) for each in rounds)
    assert len(set(rounds)) > 90
    assert Counter(large[: LARGE * 6]) == dict.fromkeys(range(SMALL, SMALL + LARGE), 6)


def test_an_epoch_has_as_many_examples_as_all_sources():
    feed = Feed(mixture(), CausalLM().collate, 1, 1)
    assert len(feed.source.part(3)) == len(SIZES)
    assert feed.epochs_after(len(SIZES)) == 1.0


def test_lengths_are_those_of_the_examples():
    part = mixture().part(1)
    assert part.sizes.tolist() == [len(each["input_ids"]) for each in part]
    both = joined([part, mixture().part(0)])
    assert [len(each["input_ids"]) for each in both] == both.sizes.tolist()
    assert len(both) == 2 * len(SIZES)


def test_packs_of_a_mixture_hold_its_examples_once():
    seen = []
    for pack in PackedSource(mixture(), 32, 3).part(1):
        assert len(pack["input_ids"]) <= 32
        firsts = [pack["segment_ids"] == n for n in range(int(pack["segment_ids"].max()) + 1)]
        seen += [int(pack["input_ids"][each][0]) // 100 for each in firsts]
    assert sorted(seen) == sorted(rows_of(mixture().part(1)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumed_run_sees_the_steps_of_a_straight_one(packed, processes):
    """Also where it goes on with twice as many processes."""

    made = []

    def feed(passes, rank=0, processes=1, **changes):
        made.append(mixture())
        source = PackedSource(made[-1], 32, 3) if packed else made[-1]
        return Feed(source, CausalLM().collate, 3, passes, rank, processes, **changes)

    straight = feed(2)
    steps = [straight.step(number) for number in range(30)]
    state = straight.state(23)
    ranks = [feed(2 // processes, rank, processes, resumed=state) for rank in range(processes)]
    for number in range(23, 30):
        batches = [batch for each in ranks for batch in each.step(number)]
        for one, other in zip(steps[number], batches, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)
    for each in [ranks[0].sequence, made[-1]._sources[0]]:
        assert each.starts[0] > 0, "earlier parts are not made again"
