"""Constrained beams: words that a text must have are tried at every place (Post and Vilar 2018).

The rules are those of transformers 4.46.3.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch

from tfcli.errors import WorkError
from tfcli.generation.processors import NEVER
from tfcli.generation.readers import Reader
from tfcli.generation.strategies.beams import BEHIND, Beams
from tfcli.generation.strategies.forced import Progress
from tfcli.generation.strategies.settings import BeamSettings

Going = tuple[float, int, int]
"""The sum of log-probabilities of a beam, the beam that it goes on from, and its token."""
STEP = 100.0
"""A step towards the words counts for more than any probability."""


class Constrained(Beams):
    """Beams whose texts have all of some words.

    Words may come in any order, and what a row has before its new tokens counts too.

    Args:
        reader, settings, options: see `Beams`; nothing is drawn.

    Raises:
        WorkError: when no text has them all at its end.
    """

    def __init__(self, reader: Reader, *, settings: BeamSettings, **options: Any) -> None:
        super().__init__(reader, settings=settings, **options)
        self._words = settings.force_words

    def _advance(self, number: int, likely: torch.Tensor) -> tuple[list[tuple[int, int]], bool]:
        totals = likely + self._sums[number][:, None]
        best, found = self._candidates(number, totals.view(-1), self._beams, likely.shape[-1])
        finished, scores = self._finished[number], best.tolist()
        divisor = finished.divisor(self._length)
        going: list[Going] = []
        for rank, (score, (beam, token)) in enumerate(zip(scores, found, strict=True)):
            if not self._stops(number, beam, token):
                if score > NEVER:
                    going.append((score, beam, token))
            elif rank < self._beams and self._progress(number, beam).complete:
                finished.add([(score / divisor, self._text(number, beam, token))])
            if len(going) == self._beams:
                break
        going = self._forced(number, totals, going)
        closed = finished.closed(scores[0], self._length)
        if self._over(number) and not closed:
            whole = [one for one in going if self._progress(number, *one[1:]).complete]
            finished.add([(score / divisor, self._text(number, *at)) for score, *at in whole])
            if len(finished.texts) < self._texts:
                raise WorkError(
                    f"no text of {self._length} new tokens has all the words that must come",
                    where="force_words",
                    fix="ask for more tokens or beams, or for fewer words",
                )
        # Where texts that stop and rules left fewer.
        filler = (BEHIND, 0, self._filler(likely.shape[-1]))
        going += [filler] * (self._beams - len(going))
        self._sums[number] = torch.tensor([score for score, _, _ in going])
        return [(beam, token) for _, beam, token in going], not closed and not self._over(number)

    def _forced(self, number: int, totals: torch.Tensor, going: list[Going]) -> list[Going]:
        """The beams that go on: the best of those that are as far, in turn with those less far.

        Args:
            number: of the prompt.
            totals (Tensor): sums of log-probabilities of all continuations, [beams, vocab].
            going: those that would go on without words.
        """
        known = {tuple(self._row(number, *at)) for _, *at in going}
        more: list[Going] = []
        for beam in range(self._beams):
            for token in self._progress(number, beam).next_tokens:
                row, total = tuple(self._row(number, beam, token)), float(totals[beam, token])
                if row not in known and total > NEVER:
                    known.add(row)
                    more.append((total, beam, token))
        if not more:
            return going
        steps = {one: self._progress(number, *one[1:]).steps for one in (*going, *more)}
        ordered = sorted((*going, *more), key=lambda one: -(steps[one] * STEP + one[0]))
        turns = [
            (turn, one)
            for _, equals in groupby(ordered, key=lambda one: steps[one])
            for turn, one in enumerate(equals)
        ]
        return [one for _, one in sorted(turns, key=lambda turn: turn[0])][: self._beams]

    def _progress(self, number: int, beam: int, *more: int) -> Progress:
        """How far a beam is, with more tokens."""
        return Progress(self._words, self._row(number, beam, *more))

    def _row(self, number: int, beam: int, *more: int) -> list[int]:
        """All ids of a beam, with more."""
        row = self.ids[number * self._beams + beam].tolist()
        return [*(token for token in row if token >= 0), *more]
