"""Diverse beams: groups of beams, each of which shuns what those before it say (Vijayakumar et al.
2016). The rules are those of transformers 4.46.3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tfcli.generation.processors import NEVER
from tfcli.generation.readers import Reader
from tfcli.generation.strategies.beams import BEHIND, Beams
from tfcli.generation.strategies.finished import Finished
from tfcli.generation.strategies.settings import BeamSettings


class Groups(Beams):
    """Beams in groups of one size: a token is less likely for each beam of an earlier group that
    says it at the same place.

    Args:
        reader, settings, options: see `Beams`; nothing is drawn.
    """

    def __init__(self, reader: Reader, *, settings: BeamSettings, **options: Any) -> None:
        super().__init__(reader, settings=settings, **options)
        self._groups, self._penalty = settings.num_beam_groups, settings.diversity_penalty
        self._size = settings.num_beams // self._groups
        self._sums[:] = BEHIND
        self._sums[:, :: self._size] = 0.0  # each group begins with one beam
        each = replace(settings, num_beams=self._size)
        self._of_groups = [
            [Finished(each, limit) for _ in range(self._groups)] for limit in self._limits
        ]
        self._closed = [[False] * self._groups for _ in self._limits]

    def _advance(self, number: int, likely: torch.Tensor) -> tuple[list[tuple[int, int]], bool]:
        going: list[tuple[int, int]] = []
        said = likely.new_zeros(likely.shape[-1])
        filler = self._filler(len(said))
        for group in range(self._groups):
            at = group * self._size
            if self._closed[number][group]:
                going += [(at + beam, filler) for beam in range(self._size)]
                continue
            own = likely[at : at + self._size] - self._penalty * said
            chosen = self._group(number, group, own)
            for _, token in chosen:
                said[token] += 1
            going += chosen
        goes_on = not self._over(number) and not all(self._closed[number])
        if not goes_on:
            finished = self._of_groups[number]
            self._finished[number].add([text for each in finished for text in each.texts])
        return going, goes_on

    def _group(self, number: int, group: int, likely: torch.Tensor) -> list[tuple[int, int]]:
        """Choose how the beams of a group go on: the beam and the token of each."""
        at = group * self._size
        sums = (likely + self._sums[number, at : at + self._size, None]).view(-1)
        best, found = self._candidates(number, sums, self._size, likely.shape[-1])
        finished, scores = self._of_groups[number][group], best.tolist()
        going: list[tuple[float, int, int]] = []
        texts: list[tuple[float, list[int]]] = []
        for rank, (score, (beam, token)) in enumerate(zip(scores, found, strict=True)):
            if self._stops(number, at + beam, token):
                if rank < self._size:
                    texts.append((score, self._text(number, at + beam, token)))
            elif len(going) < self._size and score > NEVER:
                going.append((score, at + beam, token))
        divisor = finished.divisor(self._length)
        finished.add([(score / divisor, text) for score, text in texts])
        self._closed[number][group] = finished.closed(scores[0], self._length)
        if self._over(number) and not self._closed[number][group]:
            left = [(score / divisor, self._text(number, *where)) for score, *where in going]
            finished.add(left)
        # Where texts that stop and rules left fewer.
        filler = (BEHIND, at, self._filler(likely.shape[-1]))
        going += [filler] * (self._size - len(going))
        self._sums[number, at : at + self._size] = torch.tensor([score for score, _, _ in going])
        return [(beam, token) for _, beam, token in going]
