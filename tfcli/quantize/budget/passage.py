"""Held-out windows on their way through a model: as it was, quantized, and one group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tfcli.evaluate.score import divergence
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.layouts.values import Values
from tfcli.models.model import Model
from tfcli.quantize.budget.held import Held
from tfcli.quantize.budget.ways import Group
from tfcli.quantize.plan import Unit
from tfcli.quantize.runs import Dense, Start, Stream, Visitor
from tfcli.quantize.states import States
from tfcli.quantize.walk import Walk
from tfcli.quantize.weights import with_weights

_LOGITS = 1 << 24
"""Made at a time: 64 MiB in fp32."""


@dataclass
class _Course:
    """One of the models that the windows run through.

    Args:
        stream: what comes to the next block of the chain at hand.
        ended: path of each chain before it -> its last states.
    """

    stream: Stream
    ended: dict[str, States] = field(default_factory=dict)

    def go_on(self, chain: str, start: Start) -> None:
        """Begin with the chain after another one, which has ended."""
        self.ended[chain] = self.stream.states
        begun = start(self.ended)
        self.stream = replace(begun, dense=self.stream.dense, exact=self.stream.exact)


class Passage(Visitor):
    """Carries hidden states along with a walk, each block being read once for all of them.

    Args:
        model: that is walked.
        held: windows of text that calibration does not see.
        scratch: folder for hidden states.
        groups: each of which is to be tried alone in the dense model.
        alone: the weights of a unit's linears for that, by full name.
        head: the quantized model's head, by its full name; nothing where it is the dense one's.
    """

    def __init__(
        self,
        model: Model,
        held: Held,
        scratch: Path,
        groups: Sequence[Group] = (),
        alone: Callable[[Unit], Mapping[str, Values]] = lambda unit: {},
        head: Callable[[], Mapping[str, Values]] = dict,
    ) -> None:
        self.model, self.held, self.scratch = model, held, scratch
        self.windows = held.windows
        self.groups, self._alone, self._head = groups, alone, head
        self._tried: list[_Course] = []
        self._chain = ""

    def begin(self, chain: CalibrationWalk, start: Start) -> None:
        """See `Visitor.begin`."""
        if not self._chain:
            dense = replace(start({}), exact=True)  # what is measured is small
            states = dense.states.copy(self.scratch)
            self._dense = _Course(dense)
            self._quantized = _Course(replace(dense, dense=False, states=states))
        else:
            for course in (self._dense, self._quantized, *self._tried):
                course.go_on(self._chain, start)
        self._chain = chain.blocks

    @torch.no_grad()
    def passed(self, unit: Unit, block: nn.Module, as_it_was: Dense) -> None:
        """See `Visitor.passed`."""
        self._quantized.stream.advance(block)
        own = [group for group in self.groups if group.unit == unit.path]
        values = self._alone(unit) if own else {}
        with as_it_was():
            new = []
            for group in own:
                alone = {each.name: values[each.name].dequantize() for each in group.linears}
                with with_weights(self.model, alone):
                    forked = self._dense.stream.fork(block, self.scratch)
                new.append(_Course(forked, dict(self._dense.ended)))
            for course in (*self._tried, self._dense):
                course.stream.advance(block)
        self._tried += new

    @torch.no_grad()
    def divergences(self, walk: Walk) -> list[float]:
        """KL(dense || model), in nats a token, of the quantized model, then with each group alone.

        Args:
            walk: that has ended.
        """
        dense, *others = [
            States(self.scratch, [found for (found,) in self._ending(walk, course)])
            for course in (self._dense, self._quantized, *self._tried)
        ]
        totals = torch.zeros(len(others), dtype=torch.float64)
        count, step = 0, max(1, _LOGITS // self.model.config.text.vocab_size)
        with walk.weights.head():
            # The first one is the quantized model; each group alone is tried below the dense head.
            own = {name: values.dequantize() for name, values in self._head().items()}
            heads = [own, *({} for _ in self._tried)]
            for number in range(len(dense)):
                for rows, *compared in zip(
                    *(states[number].flatten(0, 1).split(step) for states in (dense, *others)),
                    strict=True,
                ):
                    reference = self._words(rows.to(walk.weights.device))
                    count += len(rows)
                    for place, states in enumerate(compared):
                        with with_weights(self.model, heads[place]):
                            words = self._words(states.to(reference.device))
                        found = divergence(reference, words)
                        totals[place] += found.sum(dtype=torch.float64).cpu()
        return [float(total) / count for total in totals]

    def _ending(self, walk: Walk, course: _Course) -> Iterator[list[Tensor]]:
        """What words are predicted from, of each window, where a course has ended."""
        return walk.ending([course.stream.states], self.windows, self.held.states_of)

    def _words(self, rows: Tensor) -> Tensor:
        """Log-probabilities of the words, [rows, vocab]."""
        return self.model.logits_of(rows).float().log_softmax(-1)
