"""The decoding loop: a token of each row at a time, until each has ended by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from time import perf_counter

import torch

from tfcli.generation.processors import Process
from tfcli.generation.readers import Reader
from tfcli.generation.rows import NOTHING
from tfcli.generation.sampling import Pick, greedy

Watch = Callable[[torch.Tensor, torch.Tensor], None]
"""Is shown each step: the model's logits [b, vocab] and the tokens that were picked, [b]. What rows
have that ended before is of no meaning."""


class Steps(ABC):
    """New tokens of some rows. Iterate over the steps, or ask for the `texts`.

    Args:
        max_new_tokens: of each row at most.

    Attributes:
        out_of_time: whether rows ended because of a limit of seconds.
        scores: of each row, when all have ended; None: they have none.
    """

    def __init__(self, max_new_tokens: Sequence[int]) -> None:
        self._left = list(max_new_tokens)
        self._goes_on = [left > 0 for left in self._left]
        self.out_of_time = False
        self.scores: Sequence[float] | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[list[int | None]]:
        """Yield the next token of each row; None where none comes in this step."""

    def end(self, row: int) -> None:
        """End a row, as where a text came that stops it."""
        self._goes_on[row] = False

    def texts(self) -> list[list[int]]:
        """The new tokens of each row, when all have ended."""
        found: list[list[int]] = [[] for _ in self._left]
        for tokens in self:
            for text, token in zip(found, tokens, strict=True):
                if token is not None:
                    text.append(token)
        return found

    def _columns(self, texts: Sequence[Sequence[int]]) -> Iterator[list[int | None]]:
        """Several tokens of each row, one after another; none of a row that was ended."""
        for at in range(max(map(len, texts), default=0)):
            yield [
                text[at] if at < len(text) and on else None
                for text, on in zip(texts, self._goes_on, strict=True)
            ]


class Decoding(Steps):
    """A token of each row at a time.

    Processes and the pick see all rows for as long as one goes on; the model reads those alone that
    do.

    Args:
        reader: of the texts.
        max_new_tokens: of a row at most, for all rows or each; together with what it reads no more
            than the model's positions.
        pick: from logits to tokens.
        stop: after one of these ids, which belongs to a row, the row has ended.
        process: what changes the logits before a token is picked, one after another.
        watch: is shown every step.
        max_time: seconds from the first step on, after which no row goes on; None: any.

    Attributes:
        ids (Tensor): int64 [b, s], the rows so far, with `NOTHING` before and after shorter ones.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        max_new_tokens: int | Sequence[int],
        pick: Pick = greedy,
        stop: Collection[int] = (),
        process: Sequence[Process] = (),
        watch: Watch | None = None,
        max_time: float | None = None,
    ) -> None:
        self.reader, self.ids = reader, reader.begin
        count = len(self.ids)
        several = [max_new_tokens] * count if isinstance(max_new_tokens, int) else max_new_tokens
        super().__init__(several)
        self._read = list(range(count))  # the rows that the reader has
        self._pick, self._stop = pick, frozenset(stop)
        self._process, self._watch = tuple(process), watch
        self._max_time = max_time

    @torch.inference_mode()
    def __iter__(self) -> Iterator[list[int | None]]:
        """Yield the next token of each row; None of those that have ended."""
        began = perf_counter()
        while any(self._goes_on):
            logits = self._logits()
            picked = self._pick(processed(logits, self.ids, self._process))
            if self._watch is not None:
                self._watch(logits, picked)
            tokens = picked.tolist()
            self._append(picked)
            given = [token if on else None for token, on in zip(tokens, self._goes_on, strict=True)]
            for row, token in enumerate(given):
                if token is not None:
                    self._left[row] -= 1
                    self._goes_on[row] = self._left[row] > 0 and token not in self._stop
            if self._max_time is not None and perf_counter() - began > self._max_time:
                self.out_of_time = any(self._goes_on)
                self._goes_on = [False] * len(self._goes_on)
            yield given

    def _logits(self) -> torch.Tensor:
        """[b, vocab]; zeros of rows that have ended."""
        wanted = [row for row, on in enumerate(self._goes_on) if on]
        if wanted != self._read:
            places = torch.tensor([self._read.index(row) for row in wanted], device=self.ids.device)
            self.reader.select(places)
            self._read = wanted
        if len(wanted) == len(self._goes_on):
            return self.reader(self.ids)[:, -1]
        return spread(self.reader(self.ids[wanted])[:, -1], wanted, len(self._goes_on))

    def _append(self, picked: torch.Tensor) -> None:
        new = picked.to(self.ids.device)
        if not all(self._goes_on):
            new = new.where(torch.tensor(self._goes_on, device=new.device), NOTHING)
        self.ids = torch.cat((self.ids, new[:, None]), dim=1)


def spread(found: torch.Tensor, rows: Sequence[int], count: int) -> torch.Tensor:
    """What belongs to some rows, [n, k], among zeros of all: [count, k]."""
    if len(rows) == count:
        return found
    places = torch.tensor(rows, device=found.device)
    return found.new_zeros(count, found.shape[-1]).index_copy(0, places, found)


def processed(logits: torch.Tensor, ids: torch.Tensor, process: Sequence[Process]) -> torch.Tensor:
    """Logits [b, vocab] of rows [b, s] -> what the processes make of them; see `Process`."""
    if process:
        logits = logits.float()
    for each in process:
        logits = each(ids, logits)
    return logits
