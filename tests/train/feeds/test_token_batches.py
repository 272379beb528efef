"""Batches within a budget of tokens."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.feeds.test_mixture import mixture, rows_of
from tests.train.feeds.test_rows import SIZES, samples
from tfcli.errors import UsageError
from tfcli.train.feeds.batches import make_feed
from tfcli.train.feeds.feed import Feed
from tfcli.train.feeds.rows import RowSource
from tfcli.train.feeds.token_batches import TokenBatches, within
from tfcli.train.objectives.causal_lm import CausalLM


def batches(source=None, budget=64) -> TokenBatches:
    objective = CausalLM()
    return TokenBatches(source or RowSource(samples(SIZES), 3), budget, objective.lengths, 3)


def test_every_example_is_in_one_batch_and_no_batch_is_larger_than_the_budget():
    for number in range(3):
        part = batches().part(number)
        assert sorted(row for batch in part for row in rows_of(batch)) == list(range(len(SIZES)))
        sizes = [CausalLM().collate(batch)["input_ids"].numel() for batch in part]
        assert max(sizes) <= 64
        assert sum(sizes) < 1.15 * sum(SIZES), "rows of like length are together"
        assert len(part) < 1.4 * sum(SIZES) / 64
        lengths = [max(len(each["input_ids"]) for each in batch) for batch in part]
        assert lengths != sorted(lengths) and lengths != sorted(lengths, reverse=True)


def test_columns_are_filled_up_each_for_itself():
    """Two of one kind take 22 tokens, and one of each 40."""
    lengths = np.array([[10, 1], [1, 10], [10, 1], [1, 10]])
    assert within(lengths, 22) == [[0, 2], [1, 3]]
    assert within(lengths, 21) == [[0], [2], [1], [3]]
    assert within(lengths[:2], 40) == [[0, 1]]


def test_an_example_that_is_longer_than_the_budget_is_refused():
    with pytest.raises(UsageError, match="an example has 30 tokens, more than a batch of 29"):
        within(np.array([[30], [2]]), 29)


def test_steps_have_the_same_examples_whatever_the_number_of_processes(make_spec):
    spec = make_spec(batch_tokens=40)

    def seen(passes, count):
        found = []
        for rank in range(count):
            feed = make_feed(spec, CausalLM(), mixture(), passes, rank, count)
            found.append([sorted(step_rows(feed, number)) for number in range(20)])
        steps = zip(*found, strict=True)
        return [sorted(row for rank in step for row in rank) for step in steps]

    assert seen(4, 1) == seen(2, 2) == seen(1, 4)


def step_rows(feed: Feed, number: int) -> list[int]:
    return [int(row[0]) for batch in feed.step(number) for row in batch["input_ids"]]
