"""A stop text ends an answer wherever pieces are cut, and nothing else is held back for good."""

from __future__ import annotations

import random

import pytest

from tfcli.generation.ending import Ending


def passed(stops, pieces):
    ending, found = Ending(stops), []
    for piece in pieces:
        found.append(ending.push(piece))
        if ending.ended:
            return "".join(found), True
    return "".join([*found, ending.finish()]), False


@pytest.mark.parametrize(
    ("stops", "text", "wanted"),
    [
        (["END"], "one END two", "one "),
        (["END"], "one ENtwo EN", "one ENtwo EN"),
        (["aab"], "aaab", "a"),
        (["\n\n"], "x\ny\n\nz", "x\ny"),
        ([], "x", "x"),
    ],
)
def test_text_is_cut_before_the_first_stop_text_however_it_comes(stops, text, wanted):
    draw = random.Random(0)
    for _ in range(50):
        cuts = sorted(draw.sample(range(len(text) + 1), draw.randrange(len(text))))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        found, ended = passed(stops, pieces)
        assert (found, ended) == (wanted, wanted != text)


def test_only_what_may_begin_a_stop_text_waits():
    ending = Ending(["###"])
    assert [ending.push(piece) for piece in ("a#", "b", "##", "c")] == ["a", "#b", "", "##c"]
