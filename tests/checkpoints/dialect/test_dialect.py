"""Rule lists: read in both directions, bit for bit, and nothing passed over."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.pieces import in_turn, largest_part
from tfcli.checkpoints.dialect.rules import Facts, Rule
from tfcli.checkpoints.dialect.steps import (
    Fuse,
    Less,
    Permute,
    Rotary,
    Split,
    Stack,
    Step,
    Trim,
    Unstack,
)
from tfcli.checkpoints.io.dtypes import torch_dtype
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.errors import WorkError


def tensor(name: str, shape: tuple[int, ...], dtype: str = "F32", seed: int = 0) -> TensorEntry:
    """Random bits: numbers, infinities, NaN of every kind."""
    kind = torch_dtype(dtype)
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randint(0, 256, (math.prod(shape) * kind.itemsize,), generator=generator)
    value = raw.to(torch.uint8).view(kind).reshape(shape)
    return TensorEntry(name, dtype, shape, (name,), "", lambda: value)


def held(name: str, value: torch.Tensor, dtype: str = "F32") -> TensorEntry:
    return TensorEntry(name, dtype, tuple(value.shape), (name,), "", lambda: value)


def dialect(*rules: Rule, **facts: Any) -> Dialect:
    return Dialect("test", (), rules, lambda config: Facts(**facts), {r"rope\..*": "computed"})


def by_name(*tensors: TensorEntry) -> dict[str, TensorEntry]:
    return {one.name: one for one in tensors}


def assert_equal(found: Mapping[str, TensorEntry], wanted: Mapping[str, TensorEntry]) -> None:
    assert found.keys() == wanted.keys()
    for name, one in wanted.items():
        value = found[name].read()
        assert found[name].name == name
        assert (found[name].dtype, found[name].shape) == (one.dtype, one.shape)
        assert tuple(value.shape) == one.shape and value.dtype == torch_dtype(one.dtype)
        assert same_bits(value, one.read())


@dataclass
class Drawn:
    """A rule, the stored tensors that fit it, and what it asks of the config."""

    rule: Rule
    stored: dict[str, tuple[int, ...]]
    numbers: dict[str, list[int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


_LENGTHS = st.integers(1, 4)
_SHAPES = st.lists(_LENGTHS, min_size=1, max_size=3).map(tuple)


@st.composite
def each_by_itself(draw: st.DrawFn, at: str) -> Drawn:
    """One tensor, by another name, its dimensions and rotary rows in another order."""
    shape, steps = draw(_SHAPES), list[Step]()
    head_dim = 2 * draw(st.integers(1, 3))
    if draw(st.booleans()):
        shape = (head_dim * shape[0], *shape[1:])
        steps.append(Rotary(f"{at}head", to=draw(st.sampled_from(["halves", "pairs"]))))
    if draw(st.booleans()):
        steps.append(Permute(tuple(draw(st.permutations(range(len(shape)))))))
    rule = Rule(f"{at}.{{layer}}.old", f"{at}.new.{{layer}}", tuple(steps))
    return Drawn(rule, {f"{at}.{{layer}}.old": shape}, sizes={f"{at}head": head_dim})


@st.composite
def cut_or_joined(draw: st.DrawFn, at: str) -> Drawn:
    """One tensor on one side, several on the other, some of them changed further."""
    shape = draw(st.lists(_LENGTHS, min_size=2, max_size=3).map(tuple))
    dim = draw(st.integers(0, len(shape) - 1))
    lengths, groups = draw(st.lists(_LENGTHS, min_size=1, max_size=4)), draw(st.integers(1, 3))
    words = tuple(f"{at}size{n}" if n % 2 else length for n, length in enumerate(lengths))
    sizes = {f"{at}size{n}": length for n, length in enumerate(lengths)}
    parts = tuple(f"{at}.{{layer}}.part{n}" for n in range(len(lengths)))
    whole = f"{at}.{{layer}}.whole"

    def with_length(length: int) -> tuple[int, ...]:
        return (*shape[:dim], groups * length, *shape[dim + 1 :])

    if draw(st.booleans()):
        order = tuple(draw(st.permutations(range(len(shape)))))
        rule = Rule(whole, parts, (Split(dim, words, groups), Permute(order)))
        return Drawn(rule, {whole: with_length(sum(lengths))}, sizes=sizes)
    rule = Rule(parts, whole, (Fuse(dim, words, groups),))
    return Drawn(rule, dict(zip(parts, map(with_length, lengths), strict=True)), sizes=sizes)


@st.composite
def stacked(draw: st.DrawFn, at: str) -> Drawn:
    """Experts that one side has as a stack."""
    shape, numbers = draw(_SHAPES), draw(st.lists(st.integers(0, 99), min_size=1, unique=True))
    numbers = numbers[:5]
    one, many = f"{at}.{{layer}}.stack", f"{at}.{{layer}}.experts.{{{at}e}}.weight"
    if draw(st.booleans()):
        rule = Rule(one, many, (Unstack(),))
        return Drawn(rule, {one: (len(numbers), *shape)}, numbers={f"{at}e": numbers})
    return Drawn(Rule(many, one, (Stack(),)), {many: shape}, numbers={f"{at}e": numbers})


@st.composite
def drawn_dialects(draw: st.DrawFn) -> tuple[Dialect, dict[str, TensorEntry]]:
    kinds = (each_by_itself, cut_or_joined, stacked)
    count = draw(st.integers(1, 5))
    found = [draw(draw(st.sampled_from(kinds))(at=f"r{number}")) for number in range(count)]
    layers = draw(st.lists(st.integers(0, 30), min_size=1, max_size=3, unique=True))
    numbers, sizes, stored = {"layer": layers}, {}, {}
    for one in found:
        numbers |= one.numbers
        sizes |= one.sizes
        for template, shape in one.stored.items():
            for layer in range(len(layers)):
                for word, experts in one.numbers.items() or [("", [0])]:
                    for expert in range(len(experts)):
                        name = template.format(**{"layer": layer, word: expert})
                        stored[name] = tensor(name, shape, seed=len(stored))
    rules = draw(st.permutations([one.rule for one in found]))
    return dialect(*rules, sizes=sizes, numbers=numbers), stored


@given(drawn_dialects())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_there_and_back_of_any_rules(drawn):
    rules, stored = drawn
    shown = rules.to_hf(stored, {})
    assert_equal(rules.from_hf(shown, {}), stored)
    other = {
        name: tensor(name, one.shape, one.dtype, seed)
        for seed, (name, one) in enumerate(shown.items())
    }
    assert_equal(rules.to_hf(rules.from_hf(other, {}), {}), other)


def test_values_are_those_that_the_steps_say():
    rows = torch.arange(24.0).reshape(8, 3)
    rules = dialect(
        Rule("qk", ("q", "k"), (Split(0, ("heads", 4)), Rotary(4))),
        Rule("w", "w_t", (Permute((1, 0)),)),
        Rule("experts", "expert.{e}", (Unstack(),)),
        sizes={"heads": 4},
        numbers={"e": [3, 7]},
    )
    shown = rules.to_hf(
        by_name(
            held("qk", rows),
            held("w", rows),
            held("experts", rows.reshape(2, 4, 3)),
            held("rope.freqs", rows),
        ),
        {},
    )
    assert list(shown) == ["q", "k", "w_t", "expert.3", "expert.7"]
    assert torch.equal(shown["q"].read(), rows[[0, 2, 1, 3]])
    assert torch.equal(shown["k"].read(), rows[[4, 6, 5, 7]])
    assert torch.equal(shown["w_t"].read(), rows.T)
    assert torch.equal(shown["expert.7"].read(), rows[4:])
    assert shown["q"].how == "part 1 of 2 along dimension 0, rotary rows to halves"
    assert shown["expert.7"].how == "2 of a stack of 2" and shown["w_t"].how == "transposed"
    fused = rules.from_hf(shown, {})["qk"]
    assert fused.sources == ("qk",) and torch.equal(fused.read(), rows)


def test_values_are_made_when_they_are_read():
    asked = []
    lazy = TensorEntry("a", "F32", (4,), ("a",), "", lambda: asked.append(1) or torch.ones(4))
    shown = dialect(Rule("a", ("b", "c"), (Split(0, (1, 3)),))).to_hf({"a": lazy}, {})
    assert asked == [] and shown["c"].read().shape == (3,) and asked == [1]


def test_what_is_left_over_or_missing_is_named():
    rules = dialect(Rule("a.{n}", "b.{n}"), numbers={"n": [4, 5]})
    stored = by_name(tensor("a.0", (1,)), tensor("a.1", (1,)))
    assert list(rules.to_hf(stored, {})) == ["b.4", "b.5"]
    with pytest.raises(WorkError, match="test: no rule for 'strange'"):
        rules.to_hf({**stored, "strange": tensor("strange", (1,))}, {})
    with pytest.raises(WorkError, match=r"test: missing: 'a\.1'"):
        rules.to_hf(by_name(tensor("a.0", (1,))), {})
    with pytest.raises(WorkError, match=r"no rule for 'b\.0', 'b\.1', 'b\.2' and 2 more"):
        rules.from_hf(by_name(*(tensor(f"b.{n}", (1,)) for n in (0, 1, 2, 3, 6, 4, 5))), {})
    with pytest.raises(WorkError, match=r"no rule for 'rope\.freqs'"):
        rules.from_hf(by_name(tensor("rope.freqs", (1,))), {})
    assert rules.unused([*stored, "rope.freqs"]) == {"rope.freqs": "computed"}


def test_two_rules_of_one_name():
    a = tensor("a", (1,))
    with pytest.raises(WorkError, match="two rules name 'a'"):
        dialect(Rule("a", "b"), Rule("a", "c")).to_hf({"a": a}, {})
    overlapping = dialect(Rule("a", "b.1"), Rule("c.{n}", "b.{n}"), numbers={"n": [1]})
    with pytest.raises(WorkError, match=r"two rules name 'b\.1'"):
        overlapping.to_hf({"a": a}, {})


@pytest.mark.parametrize(
    ("rule", "shapes", "problem"),
    [
        (Rule("a", ("b", "c"), (Split(0, (1, 2)),)), {"a": (4,)}, r"'a' is \[4\]; .* 1 \+ 2"),
        (Rule("a", ("b", "c"), (Split(1, (1, 2)),)), {"a": (3,)}, "has no dimension 1"),
        (Rule("a", ("b", "c")), {"a": (3,)}, "'a' makes 1 tensors, the config asks for 2"),
        (Rule("a", "b", (Permute((1, 0)),)), {"a": (3,)}, "expected 2 dimensions"),
        (Rule("a", "b", (Rotary(4),)), {"a": (6, 2)}, "no whole heads of 4 rows"),
        (Rule("a", "b", (Rotary(3),)), {"a": (6, 2)}, "no whole heads of 3 rows"),
        (Rule(("a", "c"), "b", (Stack(),)), {"a": (2,), "c": (3,)}, "do not fit"),
        (Rule(("a", "c"), "b", (Fuse(0, (2, 2)),)), {"a": (2, 1), "c": (2, 3)}, "do not fit"),
        (Rule(("a", "c"), "b", (Fuse(0, (2, 2)),)), {"a": (2, 1), "c": (1, 1)}, "should be 2"),
        (Rule(("a", "c"), "b", (Fuse(0, (1,)),)), {"a": (1,), "c": (1,)}, "expected 1 tensors"),
        (Rule("a", ("b", "c"), (Split(0, (1, 1), groups=2),)), {"a": (6,)}, r"be 2 times 1 \+ 1"),
        (Rule("a", "b", (Trim(4, 6),)), {"a": (3, 1)}, "the config asks for 4 rows"),
        (Rule("a", "b.{n}", (Unstack(),)), {"a": (3, 1)}, "makes 3 tensors, the config .* 2"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_read(rule, shapes, problem):
    rules = dialect(rule, numbers={"n": range(2)})
    with pytest.raises(WorkError, match=problem):
        rules.to_hf({name: tensor(name, shape) for name, shape in shapes.items()}, {})


def test_interleaved_tensors_come_group_by_group():
    fused = torch.arange(12.0)
    rules = dialect(Rule("qkv", ("q", "k", "v"), (Split(0, (4, 1, 1), "groups"),)))
    rules = dataclasses.replace(rules, facts=lambda config: Facts({"groups": 2}))
    shown = rules.to_hf({"qkv": held("qkv", fused)}, {})
    assert shown["q"].read().tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    assert shown["k"].read().tolist() == [4, 10] and shown["v"].read().tolist() == [5, 11]
    assert torch.equal(rules.from_hf(shown, {})["qkv"].read(), fused)


def test_rows_that_fill_up_are_left_out_and_repeat_the_last_one():
    rules = dialect(Rule("old", "new", (Trim("vocab", 6),)), sizes={"vocab": 4})
    shown = rules.to_hf({"old": held("old", torch.arange(5.0))}, {})["new"]
    assert shown.read().tolist() == [0, 1, 2, 3] and shown.how == "the first 4 rows"
    assert rules.from_hf({"new": shown}, {})["old"].read().tolist() == [0, 1, 2, 3, 3, 3]
    with pytest.raises(WorkError, match=r"'old' is \[3\]; dimension 0 should be 4"):
        rules.from_hf({"new": held("old", torch.arange(3.0))}, {})
    # What is filled up exactly is taken as it is.
    exact = dialect(Rule("old", "new", (Trim(4, 4),)))
    assert exact.to_hf({"old": held("old", torch.arange(4.0))}, {})["new"].how == ""


def test_other_spellings_are_read_and_today_s_is_written():
    rules = dialect(Rule("a.{n}", "b.{n}"), numbers={"n": range(2)})
    rules = dataclasses.replace(rules, spellings=((r"^outer\.", ""), (r"^old\.", "a.")))
    stored = by_name(tensor("outer.old.0", (1,)), tensor("a.1", (1,)), tensor("rope.x", (1,)))
    shown = rules.to_hf(stored, {})
    assert list(shown) == ["b.0", "b.1"] and shown["b.0"].sources == ("outer.old.0",)
    assert list(rules.from_hf(shown, {})) == ["a.0", "a.1"]
    with pytest.raises(WorkError, match=r"'a\.1' and 'old\.1' are one tensor"):
        rules.to_hf({**stored, "old.1": tensor("old.1", (1,))}, {})


def test_what_may_be_missing_may_be_there_too():
    rules = dialect(Rule("a", "b"), Rule("head", "lm_head"), optional=("lm_head",))
    assert list(rules.to_hf(by_name(tensor("a", (1,))), {})) == ["b"]
    both = by_name(tensor("a", (1,)), tensor("head", (1,)))
    assert list(rules.to_hf(both, {})) == ["b", "lm_head"]


def test_what_may_be_missing_is_there_for_all_numbers_or_for_none():
    rules = dialect(
        Rule("a.{n}.weight", "b.{n}.weight"),
        Rule("a.{n}.bias", "b.{n}.bias"),
        numbers={"n": range(2)},
        optional=(r"b\.\d+\.bias",),
    )
    stored = by_name(*(tensor(f"a.{n}.weight", (1,)) for n in range(2)))
    assert list(rules.to_hf(stored, {})) == ["b.0.weight", "b.1.weight"]
    half = {**stored, "a.1.bias": tensor("a.1.bias", (1,))}
    with pytest.raises(WorkError, match=r"test: missing: 'a\.0\.bias'"):
        rules.to_hf(half, {})


def test_rules_of_what_differs_pass_the_rest_on():
    rules = dialect(
        Rule("qkv", ("body.q", "body.k", "body.v"), (Split(0, (1, 1, 1)),)),
        Rule("norm", "body.norm"),
    )
    rules = dataclasses.replace(rules, whole=False, spellings=((r"^outer\.", ""),))
    stored = by_name(tensor("outer.odd", (2,)), tensor("qkv", (3,)))
    shown = rules.to_hf(stored, {})
    assert list(shown) == ["odd", "body.q", "body.k", "body.v"] and shown["odd"].name == "odd"
    assert_equal(rules.from_hf(shown, {}), by_name(tensor("odd", (2,)), tensor("qkv", (3,))))
    # Hugging Face's own names may be the stored ones, once.
    norm = {"body.norm": tensor("body.norm", (1,))}
    assert list(rules.to_hf(norm, {})) == ["body.norm"]
    with pytest.raises(WorkError, match=r"'body\.norm' and 'norm' are one tensor"):
        rules.to_hf({**norm, "norm": tensor("norm", (1,))}, {})
    with pytest.raises(WorkError, match=r"missing: 'body\.v'"):
        rules.from_hf({name: shown[name] for name in ("body.q", "body.k")}, {})


def test_a_body_alone_has_names_without_the_prefix():
    rules = dialect(Rule("norm", "body.norm"), Rule("head", "head"))
    rules = dataclasses.replace(rules, prefix="body.")
    found = rules.with_prefix(by_name(tensor("norm", (1,)), tensor("head", (1,))), {})
    assert {name: one.name for name, one in found.items()} == {
        "body.norm": "body.norm",
        "head": "head",
    }


def test_what_has_no_place_in_what_is_stored_is_left_out_and_said():
    rules = dataclasses.replace(dialect(Rule("a", "b")), unwritten={r".*\.mask": "computed"})
    shown = by_name(tensor("b", (1,)), tensor("b.mask", (1,)))
    assert list(rules.from_hf(shown, {})) == ["a"]
    assert rules.left_unwritten(shown) == {"b.mask": "computed"}


@pytest.mark.parametrize("code", ["F32", "F16", "BF16"])
def test_a_number_is_added_and_taken_away_without_a_bit_lost(code):
    dtype = torch_dtype(code)
    values = [0.0, -1.0, 1e-7, 3e-5, -0.3333333, 0.1, 7e-39, 30000.0, -2.5, 65504.0]
    norm = held("norm", torch.tensor(values).to(dtype), code)
    rules = dialect(Rule(("whole", "lost"), "norm", (Less(1),)))
    stored = rules.from_hf({"norm": norm}, {})
    assert [(one.dtype, one.stored) for one in stored.values()] == [("F32", code)] * 2
    assert torch.equal(stored["whole"].read(), norm.read().float() + 1)
    shown = rules.to_hf(stored, {})["norm"]
    assert shown.dtype == "F64" and shown.read().dtype == torch.float64
    assert torch.equal(shown.read().to(dtype), norm.read())
    with pytest.raises(WorkError, match=r"'whole' is \[10\], and what was lost of it \[1\]"):
        rules.to_hf({**stored, "lost": held("lost", torch.zeros(1))}, {})


@dataclass
class Rows:
    """Reads that count what is made."""

    whole: torch.Tensor
    made: list[int] = field(default_factory=list)

    def __call__(self) -> torch.Tensor:
        self.made.append(len(self.whole))
        return self.whole

    def narrow(self, dim: int, start: int, length: int) -> torch.Tensor:
        assert dim == 0
        self.made.append(length)
        return self.whole.narrow(dim, start, length)


def test_of_a_stack_one_place_is_made_at_a_time():
    read = Rows(torch.arange(24.0).reshape(4, 3, 2))
    stack = TensorEntry("stack", "F32", (4, 3, 2), ("stack",), "", read)
    rules = dialect(Rule("stack", "expert.{e}", (Unstack(),)), numbers={"e": range(4)})
    shown = rules.to_hf({"stack": stack}, {})
    assert torch.equal(shown["expert.2"].read(), read.whole[2]) and read.made == [1]
    again = rules.from_hf(shown, {})["stack"]
    assert largest_part(again) == 3 * 2 * 4
    parts = in_turn(again)
    assert torch.equal(next(parts), read.whole[:1]) and read.made == [1, 1]
    assert torch.equal(torch.cat([read.whole[:1], *parts]), read.whole)
    fused = dialect(Rule(("a", "b"), "one", (Fuse(0, (2, 2)),)))
    row = fused.to_hf(by_name(tensor("a", (2,)), tensor("b", (2,))), {})["one"]
    assert [len(part) for part in in_turn(row)] == [4]  # no part of a row
