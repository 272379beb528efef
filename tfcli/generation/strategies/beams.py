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
        likely = likely.view(len(self._limits), self._beams, -1)
        taken: list[int] = []  # of the rows that the reader has, those that go on
        still: list[int] = []
        tokens, rows = self.ids.new_zeros(len(self.ids)), torch.arange(len(self.ids))
        for place, number in enumerate(self._open):
            going, goes_on = self._advance(number, likely[number])
            at = number * self._beams
            rows[at : at + self._beams] = at + torch.tensor([beam for beam, _ in going])
            tokens[at : at + self._beams] = torch.tensor([token for _, token in going])
            if goes_on:
                still.append(number)
                taken += [place * self._beams + beam for beam, _ in going]
        self.ids = torch.cat((self.ids[rows.to(self.ids.device)], tokens[:, None]), dim=1)
        if still:
            self.reader.select(torch.tensor(taken, device=self.ids.device))
        self._open = still

    def _advance(self, number: int, likely: torch.Tensor) -> tuple[list[tuple[int, int]], bool]:
        """Choose how the beams of a prompt go on, and keep what is whole.

        Args:
            number: of the prompt.
            likely (Tensor): log-probabilities, [beams, vocab].

        Returns:
            the beam that each goes on from and its token; and whether they do go on
        """
        sums = (likely + self._sums[number][:, None]).view(-1)
        best, found = self._candidates(number, sums, self._beams, likely.shape[-1])
        ends = self._take(number, best, found)
        behind = torch.tensor(ends, device=best.device).float() * BEHIND
        self._sums[number], chosen = (best + behind).topk(self._beams)
        going = [found[candidate] for candidate in chosen.tolist()]
        # A draw may take what the rules exclude where they leave fewer than are drawn.
        lost = (self._sums[number] == NEVER).tolist()
        filler = self._filler(likely.shape[-1])
        going = [
            (beam, filler if gone else token)
            for (beam, token), gone in zip(going, lost, strict=True)
        ]
        closed = self._finished[number].closed(float(self._sums[number, 0]), self._length)
        return going, not closed and not all(ends)

    @property
    def _length(self) -> int:
        """New tokens of each beam, with those of this step."""
        return self.ids.shape[1] - self._begin + 1

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
        return self._draw.kept(whole)

    def _rows(self, numbers: Sequence[int], device: torch.device) -> torch.Tensor:
        """The rows of some prompts' beams."""
        beams = torch.arange(self._beams, device=device)
        return (torch.tensor(numbers, device=device)[:, None] * self._beams + beams).view(-1)

    def _candidates(
        self, number: int, sums: torch.Tensor, beams: int, vocab: int
    ) -> tuple[torch.Tensor, list[tuple[int, int]]]:
        """The candidates of some beams of a prompt.

        Args:
            number: of the prompt.
            sums (Tensor): of log-probabilities, [beams * vocab].
            beams, vocab: how many there are.

        Returns:
            their sums of log-probabilities, [candidates], and the beam and the token of each
        """
        # So many are beside all that end.
        wanted = min(max(2, 1 + len(self._stop)) * beams, len(sums))
        if self._draw is None:
            best, places = sums.topk(wanted)
        else:
            # Drawn on the CPU, so that a seed means the same on every device.
            generator = self._generators[number]
            places = torch.multinomial(sums.cpu().softmax(-1), wanted, generator=generator)
            best = sums[places.to(sums.device)]
        return best, [divmod(place, vocab) for place in places.tolist()]

    def _take(
        self, number: int, best: torch.Tensor, found: Sequence[tuple[int, int]]
    ) -> list[bool]:
        """Keep what is whole among the candidates; returns which of them do not go on.

        Args:
            best (Tensor): sums of log-probabilities, [candidates]
            found: the beam and the token of each.
        """
        finished = self._finished[number]
        scores = (best / finished.divisor(self._length)).tolist()
        whole, ends = [], []
        for rank, (beam, token) in enumerate(found):
            end = self._over(number) or self._stops(number, beam, token)
            text = self._text(number, beam, token) if end else []
            if end and rank < self._beams:
                whole.append((scores[rank], text))
            ends.append(end)
        finished.add(whole)
        return ends

    def _filler(self, vocab: int) -> int:
        """The token of a beam that leads nowhere: an end, after which a grammar asks nothing."""
        return min((token for token in self._stop if token < vocab), default=0)

    def _over(self, number: int) -> bool:
        """Whether beams of a prompt are as long as they may be."""
        return self._length >= self._limits[number] or self.out_of_time

    def _stops(self, number: int, beam: int, token: int) -> bool:
        """Whether a token ends a beam by itself."""
        if token in self._stop:
            return True
        return self._ends is not None and self._ends(number, self._text(number, beam, token))

    def _text(self, number: int, beam: int, token: int) -> list[int]:
        """The new ids of a beam with one more."""
        row = self.ids[number * self._beams + beam, self._begin :]
        return [*row.tolist(), token]
