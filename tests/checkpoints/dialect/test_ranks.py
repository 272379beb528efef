"""Ranks of tensor parallelism: their parts are joined, and divided again, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints.dialect.test_dialect import assert_equal, by_name, dialect, held, tensor
from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.ranks import divide, join
from tfcli.checkpoints.dialect.rules import Cut, Rule
from tfcli.checkpoints.dialect.steps import Fuse, Permute, Split, Step
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.errors import UsageError, WorkError

PARTS = dict[Path, dict[str, TensorEntry]]


def divided(shown: Mapping[str, TensorEntry], rules: Dialect, count: int) -> PARTS:
    return opened(divide(shown, rules, {}, count))


def opened(ranks: Sequence[Sequence[PendingTensor]]) -> PARTS:
    return {
        Path(f"rank{number}"): {
            one.name: TensorEntry(one.name, one.dtype, one.shape, (one.name,), "", one.read)
            for one in rank
        }
        for number, rank in enumerate(ranks)
    }


def parts(*ranks: dict[str, torch.Tensor]) -> PARTS:
    return {
        Path(f"rank{number}"): {name: held(name, value) for name, value in rank.items()}
        for number, rank in enumerate(ranks)
    }


@st.composite
def drawn_cuts(draw: st.DrawFn) -> tuple[Dialect, dict[str, TensorEntry], int]:
    """A dialect, the whole stored tensors that fit it, and a number of ranks."""
    count = draw(st.integers(1, 3))
    rules, stored = [], {}
    for number in range(draw(st.integers(1, 4))):
        name = f"t{number}"
        shape = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
        dim = draw(st.integers(0, len(shape) - 1))
        lengths = [count * draw(st.integers(1, 3))] * draw(st.integers(1, 3))
        shape[dim] = sum(lengths)
        cut = draw(st.sampled_from([None, Cut(dim), Cut(dim, blocks=len(lengths))]))
        steps = list[Step](draw(st.sampled_from([(), (Permute(tuple(range(len(shape)))[::-1]),)])))
        names: tuple[str, ...] = (f"hf.{name}",)
        if draw(st.booleans()):  # parts of it are tensors of their own in Hugging Face
            steps, names = [Split(dim, tuple(lengths))], tuple(f"{name}.{n}" for n in lengths)
            names = tuple(f"{one}.{place}" for place, one in enumerate(names))
        rules.append(Rule(name, names, tuple(steps), cut, draw(st.sampled_from([None, (*shape,)]))))
        stored[name] = tensor(name, tuple(shape), seed=number)
    return dialect(*rules), stored, count


@given(drawn_cuts())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_divided_and_joined_again_for_any_cuts(drawn):
    rules, stored, count = drawn
    shown = rules.to_hf(stored, {})
    ranks = divided(shown, rules, count)
    assert len(ranks) == count
    assert_equal(join(ranks, rules, {}), shown)


def test_each_rank_has_its_share_of_every_block():
    rules = dialect(
        Rule("up", "up", cut=Cut(0)),
        Rule("down", "down", cut=Cut(1)),
        Rule("both", ("gate", "up2"), (Split(0, (2, 2)),), Cut(0, blocks=2)),
        Rule("norm", "norm"),
    )
    square = torch.arange(16.0).reshape(4, 4)
    shown = {
        "up": held("up", square),
        "down": held("down", square),
        "gate": held("gate", square[:2]),
        "up2": held("up2", square[2:]),
        "norm": held("norm", torch.ones(3)),
    }
    first, second = divided(shown, rules, 2).values()
    assert torch.equal(first["up"].read(), square[:2])
    assert torch.equal(second["up"].read(), square[2:])
    assert torch.equal(second["down"].read(), square[:, 2:])
    assert torch.equal(first["both"].read(), square[[0, 2]])
    assert torch.equal(second["both"].read(), square[[1, 3]])
    assert torch.equal(second["norm"].read(), torch.ones(3))


def test_shapes_tell_which_way_files_have_it():
    rules = dialect(Rule("table", "table", cut=Cut(1, other=0), shape=(4, 6)))
    whole = torch.arange(24.0).reshape(4, 6)
    for dim in (0, 1):
        ranks = parts(*({"table": part} for part in whole.chunk(2, dim)))
        table = join(ranks, rules, {})["table"]
        assert torch.equal(table.read(), whole)
        assert table.how == f"2 parts joined along dimension {dim}"
    (first, _) = divided({"table": held("table", whole)}, rules, 2).values()
    assert first["table"].shape == (4, 3)


def test_no_more_is_read_than_is_asked_for():
    """One of two fused tensors is made of the parts' rows of it, never of the whole."""
    rules = dialect(Rule("both", ("gate", "up"), (Split(0, (4, 4)),), Cut(0, blocks=2)))
    whole = torch.arange(16.0).reshape(8, 2)
    ranks = parts({"both": whole[[0, 1, 4, 5]]}, {"both": whole[[2, 3, 6, 7]]})
    gate = join(ranks, rules, {})["gate"].read()
    assert torch.equal(gate, whole[:4])
    assert gate.untyped_storage().nbytes() == 4 * 2 * 4
    single = join(parts({"both": whole}), rules, {})["gate"].read()
    assert single.data_ptr() == whole.data_ptr()  # a view: nothing is copied


@pytest.mark.parametrize(
    ("rule", "ranks", "problem"),
    [
        (Rule("a", "b"), ({"a": torch.ones(2)}, {"c": torch.ones(2)}), "'a' is not in every part"),
        (
            Rule("a", "b", cut=Cut(0)),
            ({"a": torch.ones(2)}, {"a": torch.ones(3)}),
            r"'a' differs between the parts: F32 \[2\], F32 \[3\]",
        ),
        (
            Rule("a", "b", cut=Cut(0), shape=(8, 2)),
            ({"a": torch.ones(2, 2)}, {"a": torch.ones(2, 2)}),
            r"'a' is \[2, 2\] in 2 parts; the config asks for \[8, 2\]",
        ),
        (
            Rule("a", "b", cut=Cut(0, blocks=2)),
            ({"a": torch.ones(3)}, {"a": torch.ones(3)}),
            r"'a' is \[3\]; dimension 0 is no 2 equal blocks",
        ),
        (
            Rule("a", "b", shape=(3,)),
            ({"a": torch.ones(2)},),
            r"'a' is \[2\] in 1 parts; the config asks for \[3\]",
        ),
        (
            Rule("a", "b", cut=Cut(1)),
            ({"a": torch.ones(2)}, {"a": torch.ones(2)}),
            "has no dimension 1",
        ),
    ],
)
def test_parts_that_do_not_belong_together_are_named(rule, ranks, problem):
    with pytest.raises(WorkError, match=problem) as caught:
        join(parts(*ranks), dialect(rule), {})
    if "every part" in problem:
        assert caught.value.where == "rank1"


@pytest.mark.parametrize("cut", [Cut(0), Cut(0, blocks=3)])
def test_ranks_that_do_not_divide_a_tensor_are_refused(cut):
    rules = dialect(Rule(("a", "b"), "c", (Fuse(0, (9, 9)),), cut))
    shown = rules.to_hf(by_name(tensor("a", (9,)), tensor("b", (9,))), {})
    with pytest.raises(UsageError, match=r"2 parts do not divide \d, in 'a' of \[9\]"):
        divided(shown, rules, 2)
