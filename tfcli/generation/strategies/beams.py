"""Beam search: the likeliest unfinished texts of each prompt go on side by side.

The arithmetic is that of transformers 5.23, whose prompts must have one length: candidates are the
best of all beams' continuations, so many that beams are left when every end is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from time import perf_counter

import torch

from tfcli.errors import WorkError
from tfcli.generation.loop import Steps, processed
from tfcli.generation.processors import NEVER, Process
from tfcli.generation.readers import Reader
from tfcli.generation.sampling import Draw, usable
from tfcli.generation.strategies.finished import Finished
from tfcli.generation.strategies.settings import BeamSettings

BEHIND = -1e9
"""Is added to the score of what goes on only where nothing else does."""

Ends = Callable[[int, Sequence[int]], bool]
"""Whether the new ids of a text of a prompt, which is given by its number, hold a text that stops
it."""


class Beams(Steps):
    """Whole texts, the best of each prompt: they come when all beams have ended.

    Args:
        reader: of the prompts, one row each.
        max_new_tokens: of each prompt's texts at most.
        settings: how beams are kept.
        texts: of each prompt, no more than beams; the rows of what is made, beside each other.
        stop: ids that end a text.
        process: what changes log-probabilities; its rows are the beams, of each prompt beside each
            other.
        draw: candidates are drawn; None: the best are taken.
        seeds: of each prompt's draws.
        ends: looks at the new ids of what might be a whole text.
        max_time: seconds after which no beam goes on.

    Attributes:
        scores: see `BeamSettings.length_penalty`.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        max_new_tokens: Sequence[int],
        settings: BeamSettings,
        texts: int = 1,
        stop: Collection[int] = (),
        process: Sequence[Process] = (),
        draw: Draw | None = None,
        seeds: Sequence[int] = (),
        ends: Ends | None = None,
        max_time: float | None = None,
    ) -> None:
        super().__init__([limit for limit in max_new_tokens for _ in range(texts)])
        self.reader, self._limits, self._texts = reader, list(max_new_tokens), texts
        self._beams, self._stop, self._ends = settings.num_beams, frozenset(stop), ends
        self._process, self._draw, self._max_time = tuple(process), draw, max_time
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._finished = [Finished(settings, limit) for limit in max_new_tokens]
        self._begin = reader.begin.shape[1]
        self.ids = reader.begin.repeat_interleave(self._beams, 0)
        self._sums = torch.zeros(len(self._limits), self._beams, device=self.ids.device)
        self._sums[:, 1:] = BEHIND  # at first all beams are the same
        self._open = [number for number, limit in enumerate(self._limits) if limit > 0]

    def __iter__(self) -> Iterator[list[int | None]]:
        began = perf_counter()
        while self._open:
            late = self._max_time is not None and perf_counter() - began > self._max_time
            self.out_of_time |= late and self.ids.shape[1] > self._begin
            self._step()
        best = [text for each in self._finished for text in self._best(each)]
        self.scores = [score for score, _ in best]
        yield from self._columns([ids for _, ids in best])

    def _best(self, finished: Finished) -> list[tuple[float, list[int]]]:
        if len(finished.texts) < self._texts:
            raise WorkError(
                f"the rules leave {len(finished.texts)} texts, fewer than num_return_sequences",
                where="num_return_sequences",
            )
        return finished.texts[: self._texts]

    @torch.inference_mode()
    def _step(self) -> None:
        """Let each open beam go on by a token."""
        likely = self._likelihoods()
        count, vocab = len(self._limits), likely.shape[-1]
        sums = (likely.view(count, self._beams, vocab) + self._sums[..., None]).view(count, -1)
        wanted = min(max(2, 1 + len(self._stop)) * self._beams, sums.shape[1])
        taken: list[int] = []  # of each open prompt's beams, the row that it goes on from
        still: list[int] = []
        tokens, rows = self.ids.new_zeros(len(self.ids)), torch.arange(len(self.ids))
        for number in self._open:
            best, places = self._candidates(number, sums[number], wanted)
            found = [divmod(place, vocab) for place in places.tolist()]
            ends = self._take(number, best, found)
            behind = torch.tensor(ends, device=best.device).float() * BEHIND
            self._sums[number], chosen = (best + behind).topk(self._beams)
            at = number * self._beams
            for place, candidate in enumerate(chosen.tolist()):
                beam, token = found[candidate]
                rows[at + place], tokens[at + place] = at + beam, token
            length = self.ids.shape[1] - self._begin + 1
            closed = self._finished[number].closed(float(self._sums[number, 0]), length)
            if not closed and not all(ends):
                still.append(number)
                places_read = self._open.index(number) * self._beams
                taken += (rows[at : at + self._beams] - at + places_read).tolist()
        self.ids = torch.cat((self.ids[rows.to(self.ids.device)], tokens[:, None]), dim=1)
        if still:
            self.reader.select(torch.tensor(taken, device=self.ids.device))
        self._open = still

    def _likelihoods(self) -> torch.Tensor:
        """Log-probabilities as the rules leave them, float32 [b * beams, vocab]; of no meaning
        where a prompt's beams have ended."""
        first = self.ids.shape[1] == self._begin
        rows = self._rows(self._open, self.ids.device)
        if first:
            # The beams of a prompt are the same so far, and it is read once.
            if len(self._open) < len(self._limits):
                self.reader.select(torch.tensor(self._open, device=self.ids.device))
            logits = self.reader(self.reader.begin)[:, -1]
            beams = torch.arange(len(self._open), device=rows.device).repeat_interleave(self._beams)
            self.reader.select(beams)
            logits = logits[beams]
        else:
            logits = self.reader(self.ids[rows])[:, -1]
        likely = usable(logits).float().log_softmax(-1)
        whole = likely.new_zeros(len(self.ids), likely.shape[-1]).index_copy(0, rows, likely)
        whole = processed(whole, self.ids, self._process)
        usable(whole[rows].view(len(self._open), -1))
        if self._draw is None:
            return whole
        left_out = self._draw.warped(whole) == NEVER
        return (whole / self._draw.temperature).masked_fill(left_out, NEVER)

    def _rows(self, numbers: Sequence[int], device: torch.device) -> torch.Tensor:
        """The rows of some prompts' beams."""
        beams = torch.arange(self._beams, device=device)
        return (torch.tensor(numbers, device=device)[:, None] * self._beams + beams).view(-1)

    def _candidates(
        self, number: int, sums: torch.Tensor, wanted: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sums of log-probabilities of a prompt's candidates, and which of [beams * vocab]
        they are."""
        if self._draw is None:
            best, places = sums.topk(wanted)
            return best, places
        # Drawn on the CPU, so that a seed means the same on every device.
        generator = self._generators[number]
        places = torch.multinomial(sums.cpu().softmax(-1), wanted, generator=generator)
        places = places.to(sums.device)
        return sums[places], places

    def _take(
        self, number: int, best: torch.Tensor, found: Sequence[tuple[int, int]]
    ) -> list[bool]:
        """Keep what is whole among the candidates; returns which of them do not go on.

        Args:
            best (Tensor): sums of log-probabilities, [candidates]
            found: the beam and the token of each.
        """
        length = self.ids.shape[1] - self._begin + 1
        over = length >= self._limits[number] or self.out_of_time
        finished = self._finished[number]
        scores = (best / finished.divisor(length)).tolist()
        whole, ends = [], []
        for rank, (beam, token) in enumerate(found):
            row = self.ids[number * self._beams + beam, self._begin :]
            end = over or token in self._stop
            text = [*row.tolist(), token] if end or self._ends is not None else []
            end = end or (self._ends is not None and self._ends(number, text))
            if end and rank < self._beams and scores[rank] > NEVER:
                whole.append((scores[rank], text))
            ends.append(end)
        finished.add(whole)
        return ends
