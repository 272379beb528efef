"""Contrastive search: of the likeliest tokens the one that is least like what came before (Su et
al. 2022). The rules are those of transformers 4.46.3."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from time import perf_counter

import torch

from tfcli.generation.loop import Steps, processed, spread
from tfcli.generation.processors import NEVER, Process
from tfcli.generation.readers import Reader
from tfcli.generation.sampling import usable
from tfcli.generation.strategies.settings import ContrastSettings


class Contrastive(Steps):
    """A token of each row at a time. Each candidate is read, to see what it would look like.

    Args:
        reader: of the texts.
        max_new_tokens: of each row at most.
        settings: `penalty_alpha` goes from 0, the likeliest token, to 1, the one that is least like
            those before; there are `top_k` candidates.
        stop: after one of these ids, which belongs to a row, the row has ended.
        process: what changes the logits before candidates are taken.
        max_time: seconds from the first step on, after which no row goes on; None: any.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        max_new_tokens: Sequence[int],
        settings: ContrastSettings,
        stop: Collection[int] = (),
        process: Sequence[Process] = (),
        max_time: float | None = None,
    ) -> None:
        super().__init__(max_new_tokens)
        self.reader, self.ids = reader, reader.begin
        self._alpha, self._candidates = settings.penalty_alpha, settings.top_k
        self._stop = frozenset(stop)
        self._process, self._max_time = tuple(process), max_time
        self._rows = list(range(len(self.ids)))  # that the reader has
        reader.keeps_states = True

    @torch.inference_mode()
    def __iter__(self) -> Iterator[list[int | None]]:
        began = perf_counter()
        logits, seen = self._begun()
        while any(self._goes_on):
            logits, seen = self._narrowed(logits, seen)
            picked, logits, seen = self._step(logits, seen)
            new: list[int | None] = [None] * len(self._goes_on)
            for row, token in zip(self._rows, picked, strict=True):
                new[row] = token
                self._left[row] -= 1
                self._goes_on[row] = self._left[row] > 0 and token not in self._stop
            if self._max_time is not None and perf_counter() - began > self._max_time:
                self.out_of_time = any(self._goes_on)
                self._goes_on = [False] * len(self._goes_on)
            yield new

    def _begun(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits after the prompts, [b, vocab], and directions of their tokens, [b, s, d]."""
        logits = self.reader(self.ids)[:, -1]
        return logits, _directions(self.reader.states[-1])

    def _narrowed(
        self, logits: torch.Tensor, seen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of those rows that go on."""
        wanted = [row for row, on in enumerate(self._goes_on) if on]
        if wanted == self._rows:
            return logits, seen
        places = torch.tensor([self._rows.index(row) for row in wanted], device=logits.device)
        self.reader.select(places)
        self._rows = wanted
        return logits[places], seen[places]

    def _step(
        self, logits: torch.Tensor, seen: torch.Tensor
    ) -> tuple[list[int], torch.Tensor, torch.Tensor]:
        """Choose a token of each row: the tokens, the logits after them and what was seen."""
        count = len(self._rows)
        scores = processed(spread(logits, self._rows, len(self.ids)), self.ids, self._process)
        likely = usable(scores[self._rows]).float().softmax(-1)
        best, tokens = likely.topk(min(self._candidates, likely.shape[-1]))
        width = best.shape[1]
        old = self.ids[self._rows]
        self.reader.select(torch.arange(count, device=old.device).repeat_interleave(width))
        read = torch.cat((old.repeat_interleave(width, 0), tokens.view(-1, 1)), dim=1)
        after = self.reader(read)[:, -1].view(count, width, -1)
        new = _directions(self.reader.states[-1][:, -1]).view(count, width, -1)
        alike = torch.einsum("bkd,bsd->bks", new, seen)
        alike = alike.masked_fill((old < 0)[:, None], NEVER).amax(-1)
        scored = (1 - self._alpha) * best - self._alpha * alike
        chosen = scored.masked_fill(best == 0, NEVER).argmax(-1)  # rules leave few candidates
        rows = torch.arange(count, device=old.device)
        self.reader.select(rows * width + chosen)
        picked = tokens[rows, chosen]
        self.ids = torch.cat((self.ids, torch.full_like(self.ids[:, :1], -1)), dim=1)
        self.ids[self._rows, -1] = picked
        seen = torch.cat((seen, new[rows, chosen][:, None]), dim=1)
        return picked.tolist(), after[rows, chosen], seen


def _directions(states: torch.Tensor) -> torch.Tensor:
    """States of length 1: [..., d] -> float32 [..., d]."""
    states = states.float()
    return states / states.norm(dim=-1, keepdim=True)
