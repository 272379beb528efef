"""Which rows each step sees: orders, packs, batches of like length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tfcli.train.feeds.feed import Feed
from tfcli.train.feeds.grouping import GroupedSource, PackedSource
from tfcli.train.feeds.row_store import Counts, RowStore
from tfcli.train.feeds.rows import RowSource, Samples
from tfcli.train.objectives.causal_lm import CausalLM


def samples(sizes, length=100) -> Samples:
    """Samples whose ids are 100 times their number and more; the first two ids are a prompt."""
    starts = np.concatenate([[0], np.cumsum(np.array(sizes) + 1)]).astype(np.int64)
    ids = np.concatenate([100 * n + np.arange(size + 1) for n, size in enumerate(sizes)])
    learned = np.concatenate([np.arange(size + 1) >= 2 for size in sizes])
    numbers = np.arange(len(sizes))
    store = RowStore(
        ids.astype(np.int32), learned.astype(np.uint8), starts, numbers, numbers,
            0 * numbers, 0 * numbers,
        Counts(len(sizes), 0, 0),
    )  # fmt: skip
    return Samples(store, numbers, length)


def grouped(sizes, seed, together):
    """Rows in an order that is drawn, those of a batch of like length where it has a size."""
    source = RowSource(samples(sizes), seed)
    return GroupedSource(source, together, seed) if together else source


def packed(seed=3):
    return PackedSource(RowSource(samples(SIZES, length=32), seed), 32, seed)


SIZES = np.random.default_rng(0).integers(1, 31, 53).tolist()


def who(example) -> int:
    return int(example["input_ids"][0]) // 100


def test_a_prompt_is_no_target_and_each_target_follows_its_input():
    example = samples([2, 4])[1]
    assert example["input_ids"].tolist() == [100, 101, 102, 103]
    assert example["targets"].tolist() == [-100, 102, 103, 104]


def test_what_is_too_long_loses_its_end():
    short = samples([2, 9], length=3)
    assert short[1]["input_ids"].tolist() == [100, 101, 102]
    assert short[1]["targets"].tolist() == [-100, 102, 103]
    assert short.sizes.tolist() == [2, 3]


@pytest.mark.parametrize("together", [None, 4])
def test_an_epoch_has_every_row_once_in_an_order_of_its_own(together):
    source = grouped(SIZES, 3, together)
    orders = [list(map(who, source.part(number))) for number in (0, 1, 0)]
    assert sorted(orders[0]) == list(range(53))
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != list(map(who, grouped(SIZES, 4, together).part(0)))


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_rows_of_like_length_are_in_one_batch_and_batches_in_random_order(epoch):
    """53 rows are no whole number of batches, so that the later epochs begin within one."""

    def filled(together) -> float:
        feed = Feed(grouped(SIZES, 3, together), CausalLM().collate, 4, 1)
        first = -(-53 * epoch // 4)
        batches = [feed.step(step)[0]["input_ids"] for step in range(first, first + 13)]
        return sum(batch.numel() for batch in batches) / sum(SIZES)

    assert filled(4) < 1.15 < 1.3 < filled(None)
    lengths = [len(each["targets"]) for each in grouped(SIZES, 3, 4).part(0)][::4]
    assert lengths[:13] != sorted(lengths[:13], reverse=True)


@pytest.mark.parametrize(("count", "together"), [(1, 4), (3, 4), (4, 4), (5, 4), (7, 1), (500, 8)])
def test_grouping_keeps_every_row_whatever_their_number(count, together):
    source = grouped((SIZES * 10)[:count], 3, together)
    for number in range(5):
        assert sorted(map(who, source.part(number))) == list(range(count))


def test_packs_hold_every_row_once_with_a_number_for_each():
    source = packed()
    packs = source.part(0)
    seen = []
    for pack in packs:
        ids, segments = pack["input_ids"], pack["segment_ids"]
        assert len(ids) == len(segments) == len(pack["targets"]) <= 32
        for number in range(int(segments.max()) + 1):
            part = segments == number
            row = int(ids[part][0]) // 100
            seen.append(row)
            expected = samples(SIZES, length=32)[row]
            assert torch.equal(ids[part], expected["input_ids"])
            assert torch.equal(pack["targets"][part], expected["targets"])
    assert sorted(seen) == list(range(53))
    assert len(packs) <= 1.1 * sum(SIZES) / 32 + 1


def test_packs_are_the_same_each_time_and_others_in_the_next_epoch():
    def rows(seed, epoch):
        return [each["input_ids"].tolist() for each in packed(seed).part(epoch)]

    assert rows(3, 0) == rows(3, 0)
    assert rows(3, 0) != rows(3, 1) and rows(3, 0) != rows(4, 0)


def test_a_resumed_run_sees_the_steps_of_a_straight_one():
    def feed(**changes):
        return Feed(packed(), CausalLM().collate, 4, 2, **changes)

    straight = feed()
    steps = [straight.step(number) for number in range(8)]
    again = feed(resumed=straight.state(7))
    for one, other in zip(steps[7], again.step(7), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
