"""Where drafts come from: a smaller model, or the text itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from tfcli.generation.loop import processed, spread
from tfcli.generation.processors import NEVER, Process
from tfcli.generation.readers import Reader
from tfcli.generation.sampling import Draw, draw_from


@dataclass
class Draft:
    """What may come next in a row.

    Attributes:
        tokens: the ids.
        likely: the probabilities that each was drawn with, float32 [vocab] on the CPU; empty where
            they are certain, as tokens that were not drawn.
    """

    tokens: list[int] = field(default_factory=list)
    likely: list[torch.Tensor] = field(default_factory=list)


class Drafter(ABC):
    """Says what may come next. A draft that is wrong costs time and changes no text."""

    @abstractmethod
    def __call__(
        self,
        ids: torch.Tensor,
        rows: Sequence[int],
        known: Sequence[Sequence[int]],
        most: Sequence[int],
    ) -> list[Draft]:
        """Drafts of some rows.

        Args:
            ids (Tensor): int64 [b, s], all rows so far.
            rows: numbers of those that go on.
            known: ids that come after `ids` for sure, of each of them.
            most: how many ids to draft of each of them at most.
        """

    def crop(self, length: int) -> None:  # noqa: B027, as most have read nothing
        """Forget what was read after so many columns."""


class Lookup(Drafter):
    """What came after the newest earlier place where the text was as it is now at its end: prompt
    lookup (Saxena 2023).

    Args:
        sources: what each row's prompt was, where it is not part of the row itself.
        longest: how many tokens must be the same; where none are, one less, down to one.
    """

    def __init__(self, sources: Sequence[Sequence[int]], longest: int) -> None:
        self._sources, self._longest = sources, longest

    def __call__(
        self,
        ids: torch.Tensor,
        rows: Sequence[int],
        known: Sequence[Sequence[int]],
        most: Sequence[int],
    ) -> list[Draft]:
        texts = ids[list(rows)].tolist()
        return [
            Draft(self._found(row, [*(token for token in text if token >= 0), *after], count))
            for row, text, after, count in zip(rows, texts, known, most, strict=True)
        ]

    def _found(self, row: int, text: list[int], most: int) -> list[int]:
        longest = min(self._longest, len(text))
        return looked_up([*(self._sources[row] if self._sources else ()), *text], longest, most)


def looked_up(ids: Sequence[int], longest: int, most: int) -> list[int]:
    """What came after the newest earlier place where a text was as it is now at its end.

    Args:
        ids: of the text.
        longest: how many of the last ids must be the same; where none are, one less, down to one.
        most: ids to give at most.
    """
    text = array("q", ids)
    # Bytes are searched several hundred times as fast as ids.
    data, size = text.tobytes(), text.itemsize
    for length in range(min(longest, len(ids) - 1), 0, -1):
        end = data[len(data) - length * size :]
        at = data.rfind(end, 0, len(data) - size)
        while at >= 0 and at % size:  # the last bytes of one id and the first of the next
            at = data.rfind(end, 0, at + len(end) - 1)
        if at >= 0:
            first = at // size + length
            return list(ids[first : first + most])
    return []


class Assistant(Drafter):
    """What a smaller model takes for likely.

    Args:
        reader: of the same prompts.
        process: what changes its logits: the same as the large model's.
        vocab: of the large model.
        draw: how tokens are drawn; None: the likeliest is taken.
        generators: of each row's draws.
        sure: a draft ends after a token that has less than this probability.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        process: Sequence[Process],
        vocab: int,
        draw: Draw | None,
        generators: Sequence[torch.Generator],
        sure: float,
    ) -> None:
        self._reader, self._process, self._vocab = reader, tuple(process), vocab
        self._draw, self._generators, self._sure = draw, generators, sure
        self._has = list(range(len(reader.begin)))
        self._length = 0  # columns that it has read

    def __call__(
        self,
        ids: torch.Tensor,
        rows: Sequence[int],
        known: Sequence[Sequence[int]],
        most: Sequence[int],
    ) -> list[Draft]:
        if list(rows) != self._has:
            places = [self._has.index(row) for row in rows]
            self._reader.select(torch.tensor(places, device=ids.device))
            self._has = list(rows)
        drafts = [Draft() for _ in rows]
        wanted = list(most)
        column = 0
        while any(column < len(k) + w for k, w in zip(known, wanted, strict=True) if w):
            logits = self._logits(ids, rows)
            new = ids.new_zeros(len(ids))
            for place, row in enumerate(rows):
                if column < len(known[place]):
                    new[row] = known[place][column]
                elif len(drafts[place].tokens) < wanted[place]:
                    new[row] = self._drafted(logits[row], row, drafts[place])
                    if logits[row].softmax(-1)[new[row]] < self._sure:
                        wanted[place] = len(drafts[place].tokens)
            ids = torch.cat((ids, new[:, None]), dim=1)
            column += 1
        return drafts

    def _logits(self, ids: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """[b, vocab], of no meaning in rows that have ended."""
        found = self._reader(ids[list(rows)])[:, -1].float()[:, : self._vocab]
        self._length = ids.shape[1]
        short = self._vocab - found.shape[-1]
        found = torch.nn.functional.pad(found, (0, short), value=NEVER)
        return processed(spread(found, rows, len(ids)), ids, self._process)

    def _drafted(self, logits: torch.Tensor, row: int, draft: Draft) -> int:
        if self._draw is None:
            token = int(logits.argmax())
        else:
            likely = self._draw.distribution(logits.cpu())
            token = draw_from(likely, self._generators[row])
            draft.likely.append(likely)
        draft.tokens.append(token)
        return token

    def crop(self, length: int) -> None:
        if self._length > length:
            self._reader.crop(length)
            self._length = length
