"""Speculative decoding: a model reads several drafted tokens at once, and keeps those that it would
have chosen itself (Leviathan et al. 2023)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from time import perf_counter

import torch

from tfcli.generation.loop import Steps, processed, spread
from tfcli.generation.processors import Process
from tfcli.generation.readers import Reader
from tfcli.generation.rows import NOTHING
from tfcli.generation.sampling import Draw, draw_from, usable
from tfcli.generation.strategies.drafters import Draft, Drafter


class Drafted(Steps):
    """Several tokens of each row at a time: the very text that is made without drafts, or where
    tokens are drawn, one of the same probability.

    Rows of a batch are read in lock step, as a cache holds as many columns of each. A row of which
    more was kept than of others has tokens ahead: they are read again, and are not chosen again.

    Args:
        reader: of the texts, which can be cropped.
        max_new_tokens: of each row at most.
        drafter: what says which tokens might come.
        tokens: how many are drafted at a time, at most.
        stop: after one of these ids, which belongs to a row, the row has ended.
        process: what changes the logits before a token is chosen.
        draw: how tokens are drawn; None: the likeliest is taken.
        generators: of each row's draws.
        max_time: seconds from the first step on, after which no row goes on; None: any.

    Attributes:
        ids (Tensor): int64 [b, s], what all rows have.
        drafted, kept: how many tokens were drafted, and how many of them were right.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        max_new_tokens: Sequence[int],
        drafter: Drafter,
        tokens: int,
        stop: Collection[int] = (),
        process: Sequence[Process] = (),
        draw: Draw | None = None,
        generators: Sequence[torch.Generator] = (),
        max_time: float | None = None,
    ) -> None:
        super().__init__(max_new_tokens)
        self.reader, self.ids, self._drafter = reader, reader.begin, drafter
        self._tokens, self._stop, self._process = tokens, frozenset(stop), tuple(process)
        self._draw, self._generators, self._max_time = draw, generators, max_time
        self._has = list(range(len(self.ids)))  # rows that the reader has
        self._ahead: list[list[int]] = [[] for _ in self._has]
        self.drafted = self.kept = 0

    def __iter__(self) -> Iterator[list[int | None]]:
        began = perf_counter()
        while any(self._goes_on):
            new = self._round()
            if self._max_time is not None and perf_counter() - began > self._max_time:
                self.out_of_time = any(self._ends_not(row, text) for row, text in enumerate(new))
                self._left = [0] * len(self._left)
            yield from self._columns(new)
            for row, text in enumerate(new):
                self._goes_on[row] = self._ends_not(row, text)

    def _ends_not(self, row: int, text: Sequence[int]) -> bool:
        """Whether a row goes on after a text that came to it."""
        if not self._goes_on[row] or self._left[row] <= 0:
            return False
        return not text or text[-1] not in self._stop

    @torch.inference_mode()
    def _round(self) -> list[list[int]]:
        """Draft, read and choose; returns what comes to each row."""
        rows = [row for row, on in enumerate(self._goes_on) if on]
        if rows != self._has:
            places = torch.tensor([self._has.index(row) for row in rows], device=self.ids.device)
            self.reader.select(places)
            self._has = rows
        self._settle(rows)
        known = [self._ahead[row] for row in rows]
        most = [
            max(0, min(self._tokens - len(ahead), self._left[row] - 1))
            for row, ahead in zip(rows, known, strict=True)
        ]
        drafts = self._drafter(self.ids, rows, known, most)
        texts = [[*ahead, *draft.tokens] for ahead, draft in zip(known, drafts, strict=True)]
        width = max(map(len, texts))
        # What fills a shorter draft is read and of no meaning.
        filled = torch.tensor(
            [[*text, *[0] * (width - len(text))] for text in texts],
            dtype=torch.long,
            device=self.ids.device,
        ).view(len(rows), width)
        whole = torch.cat((self.ids, spread(filled, rows, len(self.ids))), dim=1)
        logits = self.reader(whole[rows], last=width + 1)
        new: list[list[int]] = [[] for _ in self._left]
        open_ = dict(zip(rows, drafts, strict=True))
        for column in range(width + 1):
            at = spread(logits[:, column], rows, len(whole))
            chosen = processed(at, whole[:, : self.ids.shape[1] + column], self._process)
            for row, draft in list(open_.items()):
                place = column - len(self._ahead[row])
                if place >= 0:
                    token, goes_on = self._choose(chosen[row], row, draft, place)
                    new[row].append(token)
                    self._left[row] -= 1
                    if not goes_on or token in self._stop or self._left[row] <= 0:
                        del open_[row]
            if not open_:
                break
        self.drafted += sum(len(draft.tokens) for draft in drafts)
        self.kept += sum(max(0, len(text) - 1) for text in new)
        for row in rows:
            self._ahead[row] = self._ahead[row] + new[row]
        return new

    def _settle(self, rows: Sequence[int]) -> None:
        """Give all rows the columns that each of them has, and forget what was read after these."""
        common = min(len(self._ahead[row]) for row in rows)
        if not common:
            return
        columns = self.ids.new_full((len(self._left), common), NOTHING)
        for row in rows:
            columns[row] = torch.tensor(self._ahead[row][:common], device=columns.device)
            self._ahead[row] = self._ahead[row][common:]
        self.ids = torch.cat((self.ids, columns), dim=1)
        # The last one is chosen and not read yet.
        self.reader.crop(self.ids.shape[1] - 1)
        self._drafter.crop(self.ids.shape[1] - 1)

    def _choose(self, logits: torch.Tensor, row: int, draft: Draft, place: int) -> tuple[int, bool]:
        """The token of a place of a draft, or after its end; and whether the draft holds there.

        Args:
            logits (Tensor): float32 [vocab]
        """
        proposed = draft.tokens[place] if place < len(draft.tokens) else None
        drafted = draft.likely[place] if draft.likely and proposed is not None else None
        generator = self._generators[row] if self._draw is not None else None
        return choose(logits, self._draw, generator, proposed, drafted)


def choose(
    logits: torch.Tensor,
    draw: Draw | None,
    generator: torch.Generator | None,
    proposed: int | None = None,
    drafted: torch.Tensor | None = None,
) -> tuple[int, bool]:
    """Pick a token, where one may have been proposed.

    Args:
        logits (Tensor): float32 [vocab]
        draw: how it is drawn; None: the likeliest is taken.
        generator: of the draws; needed where there are any.
        proposed, drafted: see `accept`.

    Returns:
        the token, and whether it is the proposed one

    Raises:
        WorkError: no token can be picked.
    """
    usable(logits[None])
    if draw is None:
        token = int(logits.argmax())
        return token, token == proposed
    assert generator is not None
    return accept(draw.distribution(logits.float().cpu()), proposed, drafted, generator)


def accept(
    likely: torch.Tensor,
    proposed: int | None,
    drafted: torch.Tensor | None,
    generator: torch.Generator,
) -> tuple[int, bool]:
    """Draw a token from a distribution, and as often as can be the one that was proposed.

    Args:
        likely (Tensor): the distribution, float32 [vocab].
        proposed: a token; None: there is none.
        drafted (Tensor): what it was drawn from; None: it was certain.
        generator: of the draws.

    Returns:
        the token, and whether it is the proposed one by acceptance
    """
    if proposed is None:
        return draw_from(likely, generator), False
    if drafted is None:
        drafted = torch.zeros_like(likely)
        drafted[proposed] = 1.0
    ratio = float(likely[proposed] / drafted[proposed])
    if float(torch.rand((), generator=generator)) < ratio:
        return proposed, True
    rest = (likely - drafted).clamp(min=0)
    # Equal distributions leave nothing but rounding, and then either may be drawn from.
    rest = rest if float(rest.sum()) > 0 else likely
    return draw_from(rest, generator), False
