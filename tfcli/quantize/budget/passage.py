"""Held-out windows on their way through a model: as it was, quantized, and one group at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tfcli.evaluate.score import divergence
from tfcli.models.layouts.values import Values
from tfcli.models.model import Model
from tfcli.quantize.budget.ways import Group
from tfcli.quantize.plan import Unit
from tfcli.quantize.runs import Dense, Inputs, Stream, Visitor
from tfcli.quantize.states import States
from tfcli.quantize.walk import Walk
from tfcli.quantize.weights import with_weights

_LOGITS = 1 << 24
"""Made at a time: 64 MiB in fp32."""


class Passage(Visitor):
    """Carries hidden states along with a walk, each block being read once for all of them.

    Args:
        model: that is walked.
        windows: of text that calibration does not see.
        scratch: folder for hidden states.
        groups: each of which is to be tried alone in the dense model.
        alone: the weights of a unit's linears for that, by full name.
        head: the quantized model's head, by its full name; nothing where it is the dense one's.
    """

    def __init__(
        self,
        model: Model,
        windows: Sequence[Inputs],
        scratch: Path,
        groups: Sequence[Group] = (),
        alone: Callable[[Unit], Mapping[str, Values]] = lambda unit: {},
        head: Callable[[], Mapping[str, Values]] = dict,
    ) -> None:
        self.model, self.windows, self.scratch = model, windows, scratch
        self.groups, self._alone, self._head = groups, alone, head
        self._tried: list[Stream] = []

    def begin(self, stream: Stream) -> None:
        """See `Visitor.begin`."""
        self._dense = replace(stream, exact=True)  # what is measured is small
        states = stream.states.copy(self.scratch)
        self._quantized = replace(self._dense, dense=False, states=states)

    @torch.no_grad()
    def passed(self, unit: Unit, block: nn.Module, as_it_was: Dense) -> None:
        """See `Visitor.passed`."""
        self._quantized.advance(block)
        own = [group for group in self.groups if group.unit == unit.path]
        values = self._alone(unit) if own else {}
        with as_it_was():
            new = []
            for group in own:
                alone = {each.name: values[each.name].dequantize() for each in group.linears}
                with with_weights(self.model, alone):
                    new.append(self._dense.fork(block, self.scratch))
            for stream in (*self._tried, self._dense):
                stream.advance(block)
        self._tried += new

    @torch.no_grad()
    def divergences(self, walk: Walk) -> list[float]:
        """KL(dense || model), in nats a token, of the quantized model, then with each group alone.

        Args:
            walk: that has ended.
        """
        dense, *others = [
            States(self.scratch, list(walk.ending(stream.states, self.windows)))
            for stream in (self._dense, self._quantized, *self._tried)
        ]
        totals = torch.zeros(len(others), dtype=torch.float64)
        count, step = 0, max(1, _LOGITS // self.model.config.text.vocab_size)
        with walk.weights.head():
            # The first one is the quantized model; each group alone is tried below the dense head.
            own = {name: values.dequantize() for name, values in self._head().items()}
            heads = [own, *({} for _ in self._tried)]
            for number in range(len(dense)):
                for rows, *compared in zip(
                    *(states[number].split(step) for states in (dense, *others)), strict=True
                ):
                    reference = self._words(rows.to(walk.weights.device))
                    count += len(rows)
                    for place, states in enumerate(compared):
                        with with_weights(self.model, heads[place]):
                            words = self._words(states.to(reference.device))
                        found = divergence(reference, words)
                        totals[place] += found.sum(dtype=torch.float64).cpu()
        return [float(total) / count for total in totals]

    def _words(self, rows: Tensor) -> Tensor:
        """Log-probabilities of the words, [rows, vocab]."""
        return self.model.logits_of(rows).float().log_softmax(-1)
