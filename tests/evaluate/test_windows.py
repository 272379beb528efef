"""Every token but the first is scored exactly once, with the context its window gives."""

import pytest

from tfcli.evaluate.windows import Plan, Window, batches, plan_windows, unscored


def test_an_example():
    assert plan_windows([10], Plan(window=4, stride=2)) == [
        Window(0, 0, 4, 3),
        Window(0, 2, 6, 2),
        Window(0, 4, 8, 2),
        Window(0, 6, 10, 2),
    ]


@pytest.mark.parametrize("window", [2, 3, 8, 50])
def test_every_token_but_the_first_is_scored_once(window):
    lengths = [0, 1, 2, 3, 7, 8, 9, 30]
    for stride in range(1, window):
        scored = [
            (each.document, token)
            for each in plan_windows(lengths, Plan(window, stride))
            for token in range(each.end - each.scored, each.end)
        ]
        assert sorted(scored) == [
            (document, token)
            for document, length in enumerate(lengths)
            for token in range(1, length)
        ]


def test_windows_start_at_multiples_of_the_stride_and_stop_with_the_document():
    found = plan_windows([20, 5], Plan(window=8, stride=3))
    assert [each.start for each in found] == [0, 3, 6, 9, 12, 0]
    assert found[-2].end == 20 and all(each.length <= 8 for each in found)


def test_batches_hold_every_window_once_and_only_windows_of_one_shape():
    windows = plan_windows([20, 5, 20, 9, 5], Plan(window=8, stride=3))
    found = list(batches(windows, 3))
    assert sorted(each.document * 100 + each.start for b in found for each in b) == [
        each.document * 100 + each.start for each in windows
    ]
    assert all(len({(e.length, e.scored) for e in batch}) == 1 for batch in found)
    assert max(map(len, found)) == 3


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize(("each", "inside"), [(True, True), (True, False), (False, True)])
def test_every_token_is_scored_or_named_once_and_no_window_is_too_long(prefix, each, inside):
    lengths = [0, 1, 2, 3, 7, 8, 9, 30]
    for window in (prefix + 1, prefix + 3, 12):
        for stride in range(1, window + 1):
            plan = Plan(max(window, 2), stride, prefix, each, inside)
            windows = plan_windows(lengths, plan)
            seen = [
                (one.document, token)
                for one in windows
                for token in range(one.end - one.scored, one.end)
            ]
            left = [
                (document, token)
                for document, tokens in unscored(lengths, windows).items()
                for token in tokens
            ]
            assert sorted(seen + left) == [
                (document, token) for document, n in enumerate(lengths) for token in range(n)
            ]
            around = prefix if inside or not each else 0
            for one in windows:
                assert one.length + around * one.begins <= plan.window
                # The first token of a window without a prefix has nothing before it.
                assert one.scored <= one.length - (not one.begins)
            if prefix and stride < window:
                assert left == []
