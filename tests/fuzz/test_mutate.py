"""A case of the fuzzer is the same whenever it is made again, and is what its kind can hold."""

from __future__ import annotations

import json
from random import Random

from tests.fuzz.__main__ import wrong_with
from tests.fuzz.mutate import change_bytes, change_tree, places
from tests.warm import Ended

TREE = {"a": [1, 2.5, {"b": "text"}], "c": None, "d": True}


def test_a_seed_and_a_number_make_a_case_again():
    data = bytes(range(256)) * 8
    for number in range(200):
        seed = f"0 config:llama {number}"
        assert change_bytes(Random(seed), data) == change_bytes(Random(seed), data)
        one, other = (json.dumps(change_tree(Random(seed), TREE)) for _ in range(2))
        assert one == other
    assert len({change_bytes(Random(f"{n}"), data) for n in range(200)}) > 150


def test_every_place_of_a_tree_is_found_and_what_was_given_stays():
    found = [("a",), ("a", 0), ("a", 1), ("a", 2), ("a", 2, "b"), ("c",), ("d",)]
    assert places(TREE) == found
    before = json.dumps(TREE)
    for number, place in enumerate(found * 30):
        change_tree(Random(number), TREE, place)
    assert json.dumps(TREE) == before


def test_what_a_find_is():
    assert wrong_with(Ended(0, "", "", 0.1, 1)) is None
    assert wrong_with(Ended(1, "it is damaged", "file", 0.1, 1)) is None
    assert wrong_with(Ended(None, "", "", 0.1, 1)) == "broke down"
    assert wrong_with(Ended(1, "unexpected TypeError: x", "", 0.1, 1)) == "was not foreseen"
    assert wrong_with(Ended(0, "", "", 9.0, 1)) == "took 9.0 s"
    assert wrong_with(Ended(2, "no", "", 0.1, 10**9)) == "took 1,000,000,000 bytes"
