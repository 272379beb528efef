"""Passes over a block that go on where those before ended show what whole passes would."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.models.tiny import tiny_model
from tests.quantize.watching import Watching, steps, walk
from tfcli.quantize import runs, watch
from tfcli.quantize.shortcuts import Kept, Shortcuts, ends_in

IDS = torch.randint(4, 61, (6, 9), generator=torch.Generator().manual_seed(0)).split(2)

BEGIN = Shortcuts.begin


class Drifting(Watching):
    """Rounds coarsely, and remembers the dense model's inputs too."""

    drifts = True

    def __init__(self) -> None:
        super().__init__(lambda weight: (weight * 50).round() / 50)
        self.dense: list[torch.Tensor] = []

    def observe(self, linears, inputs, dense) -> None:
        super().observe(linears, inputs, dense)
        self.dense += [] if dense is None else [dense]


# Attention and mlps that end in a linear; in dropout; experts; an encoder; two chains.
@pytest.mark.parametrize(
    ("model_type", "quick"),
    [("llama", 0), ("llama", 1), ("gpt2", 0), ("mixtral", 1), ("bert", 0), ("t5", 0)],
)
def test_inputs_have_the_bits_of_whole_passes(monkeypatch, model_type, quick):
    monkeypatch.setattr(runs, "has_products", lambda dtype: quick)
    found, taken = [], []
    for shorter in (True, False):
        method = Drifting()
        with monkeypatch.context() as patch:
            if shorter:
                patch.setattr(Shortcuts, "begin", lambda *a: taken.append(1) or BEGIN(*a))
            else:
                patch.setattr(watch, "ends_in", lambda *given: (ends_in(*given)[0], None))
            list(walk(tiny_model(model_type), IDS, method, exact=not quick))
        found.append([*(x for each in method.seen.values() for x in each), *method.dense])
    assert len(found[0]) == len(found[1])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert bool(taken) == (model_type != "bert")  # there a norm of the sum comes last


def test_every_linear_multiplies_a_batch_once():
    streamed, done = steps(tiny_model("llama"), IDS, Drifting())
    counts = Counter()
    for name, module in streamed.named_modules():
        if isinstance(module, nn.Linear) and ".layers." in name:
            module.register_forward_hook(lambda *_, name=name: counts.update([name]))
    list(done)
    ends = ("o_proj", "down_proj")  # with the first batch they tell which module ends in them
    for name, count in counts.items():
        passes = 2 * len(IDS) + name.endswith(ends)
        if ".layers.0." in name:
            assert count == passes, name
        else:  # nothing reads what the last block gives
            assert count == (1 if name.endswith("down_proj") else passes), name


def test_what_is_kept_has_its_type_and_its_bits(tmp_path):
    kept = Kept(tmp_path)
    batches = [torch.randn(2, 3), torch.randn(4, 1, 5).bfloat16(), torch.randn(3, 2).t()]
    for batch in batches:
        kept.append(batch)
    assert len(kept) == 3
    for number in (1, 2, 0):
        assert torch.equal(kept[number], batches[number])
        assert kept[number].dtype == batches[number].dtype
    assert not list(tmp_path.iterdir())


class Tail(nn.Module):
    """A module around a linear, and what it makes of the linear's outputs."""

    def __init__(self, after) -> None:
        super().__init__()
        self.linear, self.after = nn.Linear(4, 4), after

    def forward(self, x):
        return self.after(self.linear(x.relu()))


@pytest.mark.parametrize(
    ("after", "is_end"),
    [
        (lambda y: y, True),
        (nn.Dropout(0.5).eval(), True),
        (lambda y: y.mul_(2), False),  # the same memory, other numbers
        (lambda y: y + 0, False),
        (lambda y: (y, None), False),
        (lambda y: y.view(-1), False),
    ],
)
@torch.no_grad()
def test_a_module_ends_in_a_linear_if_it_gives_what_the_linear_does(after, is_end):
    inner = Tail(after)
    middle = nn.Sequential(nn.ReLU(), inner)
    block = nn.Sequential(middle, nn.ReLU())
    x = torch.randn(2, 4)
    inputs, module = ends_in(block, inner.linear, lambda: block(x))
    assert torch.equal(inputs, x.relu())
    assert module is (middle if is_end else None)
    for one, other in pairwise([block, middle, inner]):
        assert other in one.modules()
        assert not one._forward_hooks
        assert not other._forward_hooks
