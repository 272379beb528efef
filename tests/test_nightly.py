"""What is left to a nightly run: no family and no choice is left out of the others."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

from tests.models.case import Case
from tests.nightly import chosen, mark

BACKENDS = ("eager", "flash", "flex")


def case(config: str, name: str) -> Case:
    return Case(name=name, config=config, settings={}, tasks=("causal-lm",))


CASES = [case("A", "a"), case("A", "a-wide"), case("B", "b"), case("B", "b-deep"), case("C", "c")]


def kept(members):
    return [members[index] for index in sorted(chosen(members))]


def test_each_family_comes_once_by_its_first_case_with_a_choice_in_turn():
    members = [
        {"backend": backend, "case": case} for case, backend in itertools.product(CASES, BACKENDS)
    ]
    found = [(member["case"].name, member["backend"]) for member in kept(members)]
    assert found == [("a", "eager"), ("b", "flash"), ("c", "flex")]


def test_each_choice_comes_at_least_once():
    """Here more choices than families, and one that only a family's later case has."""
    members = [{"case": CASES[0], "size": size} for size in range(3)]
    members += [{"case": CASES[1], "size": 7}, {"case": CASES[2], "size": 0}]
    assert {member["size"] for member in kept(members)} == {0, 1, 2, 7}
    assert {member["case"].config for member in kept(members)} == {"A", "B"}


def test_families_by_name_meet_containers_in_turn():
    names = ["bert", "gpt2", "llama", "mamba", "qwen3", "t5", "vit", "whisper"]
    members = [
        {"target": target, "model_type": name} for target in ("hf", "pt", "dcp") for name in names
    ]
    members.append({"target": "meta", "model_type": names[0]})
    found = kept(members)
    targets = [member["target"] for member in found]
    assert {member["model_type"] for member in found} == set(names)
    assert len(found) <= len(names) + 1
    assert all(targets.count(target) >= 2 for target in ("hf", "pt", "dcp"))
    assert "meta" in targets


def test_what_is_no_product_stays_whole():
    members = [{"name": name} for name in ("one", "two", "three")]
    assert kept(members) == members


class Item:
    """What pytest collects, as far as the rule asks it."""

    def __init__(self, nodeid, *markers, **params):
        self.nodeid, self.markers = nodeid, list(markers)
        self.originalname = nodeid.partition("::")[2].partition("[")[0]
        if params:
            self.callspec = SimpleNamespace(params=params)

    def get_closest_marker(self, name):
        return next((marker for marker in self.markers if marker == name), None)

    def add_marker(self, marker):
        self.markers.append(marker.name)


def left_out(items):
    mark(items)
    return [item.nodeid for item in items if "nightly" in item.markers]


def product(test, *markers):
    return [
        Item(f"{test}[{case.name}-{backend}]", *markers, case=case, backend=backend)
        for case, backend in itertools.product(CASES, BACKENDS)
    ]


def test_markers_say_what_is_a_product():
    assert len(left_out(product("tests/models/test_a.py::test_loss", "families"))) == 12
    assert len(left_out(product("tests/merge/test_a.py::test_merged", "interop"))) == 12
    assert left_out(product("tests/models/test_a.py::test_forward", "families")) == []
    assert left_out(product("tests/models/test_a.py::test_loss")) == []
    two = ("tests/a.py::test_one", "tests/a.py::test_two")
    assert len(left_out([item for name in two for item in product(name, "families")])) == 24


def test_what_takes_long_comes_once_and_what_fails_at_every_call_not_at_all():
    for folder in ("convert/exports", "checkpoints/zero", "released"):
        members = product(f"tests/{folder}/test_a.py::test_b", "interop")
        assert left_out(members) == [member.nodeid for member in members[1:]]
    assert left_out([Item("tests/faults/test_a.py::test_pairs", "faults")])
    assert not left_out([Item("tests/models/test_a.py::test_one", "families")])
