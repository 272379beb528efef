"""Autoregressive blank infilling: how GLM learns (Du et al. 2022, section 2).

Spans of a text are cut out, each replaced by one mask: that is part A, which is seen on both
sides. The spans follow in random order as part B, each after `sop`; each word is predicted from
part A and from what stands before it in part B, and `eop` after a span's last. Everything that is
random follows from the seed and the example's index, so a run that goes on after a break sees what
it would have seen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tfcli.errors import UsageError
from tfcli.flagai.blanks import BlankTokens

Span = tuple[int, int]  # first position, and one past the last
OBJECTIVES = ("span", "sentence", "generation")


@dataclass(frozen=True)
class Blanked:
    """One example, its parts put together.

    Args:
        ids: part A, then part B.
        targets: the word at each place; 0 in part A.
        positions: where a token stands in part A; in part B, where its mask stands.
        block_positions: 0 in part A; in part B counted from 1 in each span.
        sep: length of part A.
        objective: one of `OBJECTIVES`.
    """

    ids: list[int]
    targets: list[int]
    positions: list[int]
    block_positions: list[int]
    sep: int
    objective: str


@dataclass(frozen=True)
class BlankInfilling:
    """A collator that makes batches for `GLMForSeq2Seq` of texts.

    Args:
        tokens: the special ids.
        seed: equal seeds and indices give equal examples.
        max_length: of an example with its part B; longer texts are cut at their end. None: any.
        weights: how often each of `OBJECTIVES` is chosen.
        ratio: how much of a text is cut out in spans or sentences.
        mean_length: of spans; their lengths have Poisson's distribution, without 0.
        longest: no span is longer.
        min_ratio: how much of a text is cut out at least for generation.
        infill: how often that is in the text's midst and not at its end.
        pad_id: fills up rows.
    """

    tokens: BlankTokens
    seed: int = 0
    max_length: int | None = None
    weights: tuple[float, float, float] = (0.4, 0.3, 0.3)
    ratio: float = 0.15
    mean_length: float = 3.0
    longest: int = 39
    min_ratio: float = 0.25
    infill: float = 0.5
    pad_id: int = 0

    def __post_init__(self) -> None:
        if len(self.weights) != 3 or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise UsageError("weights must be three numbers of 0 or more", where="weights")
        for name in ("ratio", "min_ratio", "infill"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be from 0 to 1", where=name)
        if self.mean_length <= 0 or self.longest < 1:
            raise UsageError("spans must have a length", where="mean_length")
        if self.max_length is not None and self.max_length < 4:
            raise UsageError("max_length must be at least 4", where="max_length")

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch.

        Args:
            examples: each with `input_ids`, the text, and `index`, its number in the data; where
                the data are read again, a number that goes on counting.

        Returns:
            `input_ids`, `target_ids`, `loss_mask` [b, s]; `position_ids` [b, 2, s];
            `attention_mask` [b], the lengths of the parts A

        Raises:
            UsageError: an example without an index, or without a word that could be masked.
        """
        made = []
        for example in examples:
            if "index" not in example:
                raise UsageError("an example needs its index", where="examples")
            made.append(self.example(list(example["input_ids"]), int(example["index"])))
        return self.collate(made)

    def example(self, ids: Sequence[int], index: int) -> Blanked:
        """Cut spans out of a text.

        Args:
            ids: the text, with the tokens that begin and end it.
            index: what is random follows from it and the seed.
        """
        rng = random.Random(f"{self.seed}:{index}")
        objective = rng.choices(OBJECTIVES, self.weights)[0]
        ids = list(ids)
        if self.max_length is not None:
            ids = ids[: self.max_length - 2]  # a span adds its mask and `sop`
        while True:
            spans = self.spans(ids, objective, rng)
            over = 0 if self.max_length is None else len(ids) + 2 * len(spans) - self.max_length
            if over <= 0:
                return self.assemble(ids, spans, objective, rng)
            ids = ids[:-over]

    def spans(self, ids: Sequence[int], objective: str, rng: random.Random) -> list[Span]:
        """The spans to cut out, in their order in the text; at least one."""
        stretches = _stretches(ids, self.tokens.fixed)
        if not stretches:
            raise UsageError(
                "a text has no word that could be masked",
                where="input_ids",
                fix="leave out empty texts, and make max_length longer than what begins a text",
            )
        if objective == "generation":
            return [self._generation(stretches, rng)]
        if objective == "sentence":
            found = self._sentences(ids, stretches, rng)
        else:
            found = [span for one in stretches for span in self._short(one, rng)]
        if not found:  # all stretches are too short for their share of the ratio
            start, end = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
            at = rng.randrange(start, end)
            found = [(at, at + 1)]
        return sorted(found)

    def assemble(
        self, ids: Sequence[int], spans: Sequence[Span], objective: str, rng: random.Random
    ) -> Blanked:
        """Part A and part B of a text whose spans are known."""
        mask = self.tokens.masks[OBJECTIVES.index(objective)]
        part_a: list[int] = []
        places = []  # of each span's mask in part A
        last = 0
        for start, end in spans:
            part_a += ids[last:start]
            places.append(len(part_a))
            part_a.append(mask)
            last = end
        part_a += ids[last:]
        out = Blanked(
            ids=part_a,
            targets=[0] * len(part_a),
            positions=list(range(len(part_a))),
            block_positions=[0] * len(part_a),
            sep=len(part_a),
            objective=objective,
        )
        order = list(range(len(spans)))
        rng.shuffle(order)
        for i in order:
            words = list(ids[slice(*spans[i])])
            out.ids.extend([self.tokens.sop, *words])
            out.targets.extend([*words, self.tokens.eop])
            out.positions.extend([places[i]] * (len(words) + 1))
            out.block_positions.extend(range(1, len(words) + 2))
        return out

    def collate(self, examples: Sequence[Blanked]) -> dict[str, torch.Tensor]:
        """Rows of equal length; see `__call__`."""
        length = max(len(example.ids) for example in examples)

        def rows(values: Iterable[Sequence[int]], fill: int = 0) -> torch.Tensor:
            return torch.tensor([[*row, *[fill] * (length - len(row))] for row in values])

        counted = [[int(place >= one.sep) for place in range(len(one.ids))] for one in examples]
        positions = rows(one.positions for one in examples)
        blocks = rows(one.block_positions for one in examples)
        return {
            "input_ids": rows((one.ids for one in examples), self.pad_id),
            "target_ids": rows(one.targets for one in examples),
            "loss_mask": rows(counted),
            "position_ids": torch.stack((positions, blocks), 1),
            "attention_mask": torch.tensor([one.sep for one in examples]),
        }

    def _short(self, stretch: Span, rng: random.Random) -> list[Span]:
        """Spans of a few words, apart from each other, that cover the ratio of a stretch."""
        start, end = stretch
        wanted = int(self.ratio * (end - start))
        lengths: list[int] = []
        while sum(lengths) < wanted:
            length = min(_poisson(self.mean_length, rng), self.longest)
            lengths.append(min(length, wanted - sum(lengths)) or 1)
        # A span begins after so many words that stay; each after another number, so that a word
        # stays between two of them.
        stay = end - start - sum(lengths)
        lengths = lengths[: stay + 1]
        slots = sorted(rng.sample(range(stay + 1), len(lengths)))
        found, moved = [], start
        for slot, length in zip(slots, lengths, strict=True):
            found.append((moved + slot, moved + slot + length))
            moved += length
        return found

    def _sentences(
        self, ids: Sequence[int], stretches: Sequence[Span], rng: random.Random
    ) -> list[Span]:
        """Whole sentences, until they cover the ratio of the text."""
        sentences = []
        for start, end in stretches:
            begin = start
            for at in range(start, end):
                if ids[at] in self.tokens.ends or at == end - 1:
                    sentences.append((begin, at + 1))
                    begin = at + 1
        rng.shuffle(sentences)
        wanted, found = int(self.ratio * len(ids)), []
        for start, end in sentences:
            found.append((start, end))
            wanted -= end - start
            if wanted <= 0:
                break
        return found

    def _generation(self, stretches: Sequence[Span], rng: random.Random) -> Span:
        """One long span: the end of the last stretch, or a part of the longest one."""
        inside = rng.random() < self.infill
        longest = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
        start, end = longest if inside else stretches[-1]
        length = rng.randint(max(1, math.ceil(self.min_ratio * (end - start))), end - start)
        begin = rng.randint(start, end - length) if inside else end - length
        return begin, begin + length


def _stretches(ids: Sequence[int], fixed: frozenset[int]) -> list[Span]:
    """The longest runs of words that may be masked."""
    found, begin = [], None
    for at, index in enumerate([*ids, None]):
        free = index is not None and index not in fixed
        if free and begin is None:
            begin = at
        if not free and begin is not None:
            found.append((begin, at))
            begin = None
    return found


def _poisson(mean: float, rng: random.Random) -> int:
    """A number of Poisson's distribution that is not 0 (Knuth's method)."""
    limit = math.exp(-mean)
    while True:
        count, product = 0, rng.random()
        while product > limit:
            count += 1
            product *= rng.random()
        if count:
            return count
