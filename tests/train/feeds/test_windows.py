"""Which examples each step sees, of a text that is cut into windows."""

from __future__ import annotations

import torch

from tfcli.train.feeds.feed import Feed
from tfcli.train.feeds.windows import StreamSource, Windows
from tfcli.train.objectives.causal_lm import CausalLM

TOKENS = torch.arange(1000, 1103)  # every token is its own name


def feed(stream=lambda epoch: TOKENS, seed=3, batch_size=2, accumulation=1, **changes) -> Feed:
    source = StreamSource(stream, 8, seed)
    return Feed(source, CausalLM(8).collate, batch_size, accumulation, **changes)


def targets(batches) -> list[int]:
    return [int(x) for batch in batches for x in batch["targets"].flatten() if x != -100]


def all_targets(one: Feed, steps: range) -> list[int]:
    return [token for step in steps for token in targets(one.step(step))]


def test_windows_cover_every_target_once_with_short_ones_at_the_ends():
    windows = Windows.cut(TOKENS, 8, offset=3)
    assert [len(each["targets"]) for each in windows] == [3] + [8] * 12 + [3]
    assert targets([CausalLM(8).collate(windows)]) == TOKENS[1:].tolist()


def test_each_label_follows_its_input():
    windows = Windows.cut(TOKENS, 8, offset=5)
    batch = CausalLM(8).collate([windows[number] for number in (0, 4, 13)])
    counted = batch["targets"] != -100
    assert counted.sum(1).tolist() == [5, 8, 1]
    assert torch.equal(batch["targets"][counted], batch["input_ids"][counted] + 1)


def test_an_epoch_predicts_every_token_but_the_first_once():
    one = feed(batch_size=1)
    one.step(200)  # far enough to know where the epochs begin
    for start, end in zip(one.sequence.starts[:3], one.sequence.starts[1:4], strict=True):
        assert sorted(all_targets(one, range(start, end))) == TOKENS[1:].tolist()


def test_epochs_are_cut_and_shuffled_anew():
    one = feed(batch_size=1)
    one.step(60)
    first, second = (all_targets(one, range(s, s + 13)) for s in one.sequence.starts[:2])
    assert first != second
    assert first != sorted(first)


def test_a_step_is_the_same_whatever_was_asked_before():
    walked, jumped = feed(), feed()
    wanted = [targets(walked.step(step)) for step in range(40)]
    assert [targets(jumped.step(step)) for step in (39, 2, 20)] == [
        wanted[39],
        wanted[2],
        wanted[20],
    ]


def test_another_seed_is_another_order():
    assert all_targets(feed(), range(5)) != all_targets(feed(seed=4), range(5))


def test_the_split_of_a_step_does_not_change_its_windows():
    whole = feed(batch_size=8)
    for batch_size, accumulation in ((4, 2), (2, 4), (1, 8)):
        split = feed(batch_size=batch_size, accumulation=accumulation)
        for step in range(6):
            assert targets(split.step(step)) == targets(whole.step(step))
            assert len(split.step(step)) == accumulation


def test_processes_share_a_step():
    whole = feed(batch_size=4)
    ranks = [feed(rank=rank, processes=2) for rank in range(2)]
    for step in range(8):
        parts = [one.step(step) for one in ranks]
        assert targets(parts[0]) + targets(parts[1]) == targets(whole.step(step))


def test_the_text_may_be_encoded_anew_each_epoch():
    streams = {0: TOKENS, 1: TOKENS + 5000, 2: TOKENS + 10000}
    one = feed(stream=streams.__getitem__, batch_size=1)
    seen = all_targets(one, range(20))
    assert min(seen) < 2000 and max(seen) > 5000


def test_a_resumed_feed_does_not_make_earlier_epochs_again():
    asked = []

    def stream(epoch):
        asked.append(epoch)
        return TOKENS

    one = feed(stream=stream)
    expected = targets(one.step(30))
    state = one.state(30)
    asked.clear()
    again = feed(stream=stream, resumed=state)
    assert targets(again.step(30)) == expected
    assert asked == [0, 4], "the first one says how long an epoch is"


def test_epochs_are_counted_in_windows():
    one = feed(batch_size=1)
    one.step(20)
    assert one.epochs_after(one.sequence.starts[1]) == 1.0
    assert 0 < one.epochs_after(3) < 0.5
