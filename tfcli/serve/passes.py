"""The passes of an engine's model: a part of a prompt, or the next positions of several texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tfcli.generation.readers import moved
from tfcli.models.cache import Cache
from tfcli.models.joined_cache import JoinedCache
from tfcli.models.kernels.dense import MOST_ROWS
from tfcli.models.model import Model
from tfcli.serve.prefixes import Prefixes
from tfcli.serve.row import Row


@dataclass(frozen=True)
class EngineLimits:
    """What an engine takes on at once.

    Args:
        rows: texts that are made beside each other.
        waiting: texts that wait for their turn; more are refused.
        positions: that the caches of all texts have together.
        part: ids of a prompt that are read between two steps.
    """

    rows: int = 8
    waiting: int = 256
    positions: int = 1 << 17
    part: int = 512


class Passes:
    """Has a model read and go on with texts. It belongs to the engine's thread.

    Args:
        model: with a head that continues texts, in eval mode.
        limits: of the engine.
        prefixes: what was read before; None remembers nothing.
        adapted: puts an adapter of a name on the model, or with None takes it off.
    """

    def __init__(
        self,
        model: Model,
        limits: EngineLimits,
        prefixes: Prefixes | None,
        adapted: Callable[[str | None], None] | None,
    ) -> None:
        self._model, self._limits = model, limits
        self._prefixes, self._adapted = prefixes, adapted
        self._adapter: str | None = None
        self._switch = model.config.text.rotation_switch

    def part(self, row: Row) -> torch.Tensor | None:
        """Read the next part of a text; the logits after the last, [1, vocab], if that was it."""
        self._put_on(row)
        if row.cache is None:
            row.cache = self._begun(row)
            row.reused = row.cache.length
        elif self._crosses(row):
            row.cache = self._empty()  # all positions are turned otherwise from now on
        whole = self._switch is not None or row.ask.media
        end = len(row.ids) if whole else min(len(row.ids), row.read + self._limits.part)
        new = torch.tensor([row.ids[row.read : end]], device=self._model.device)
        media = {} if row.read else moved(row.ask.media, self._model)
        found = self._model(input_ids=new, cache=row.cache, logits_to_keep=1, **media)
        if end < len(row.ids):
            return None
        if len(row.ids) == len(row.ask.ids):
            self.remember(row, file=False)
        assert isinstance(found.logits, torch.Tensor)
        return found.logits[:, -1]

    def step(self, rows: Sequence[Row]) -> torch.Tensor:
        """The logits after the last ids of texts and after each id of their drafts, [b, draft + 1,
        vocab]; all these ids are read. The drafts are of one length."""
        self._put_on(rows[0])
        new = torch.tensor([[row.ids[-1], *row.draft] for row in rows], device=self._model.device)
        caches = [row.cache for row in rows if row.cache is not None]
        kept = new.shape[1]
        if len(caches) == 1:
            found = self._model(input_ids=new, cache=caches[0], logits_to_keep=kept)
        else:
            cache = JoinedCache(caches)
            mask = cache.attention_mask(kept)
            found = self._model(
                input_ids=new, attention_mask=mask, cache=cache, logits_to_keep=kept
            )
        assert isinstance(found.logits, torch.Tensor)
        return found.logits.cpu()

    def take_back(self, row: Row) -> None:
        """Forget what was read of a draft and did not come."""
        if row.cache is not None and row.read > len(row.ids) - 1:
            row.cache.crop(len(row.ids) - 1)

    def groups(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """The texts that a pass can go on with together; what may come next is drafted."""
        size = MOST_ROWS if self._model.device.type == "cpu" else self._limits.rows
        if self._switch is not None:  # how a position is turned depends on the longest beside it
            size = 1
        by_kind: dict[tuple[str | None, int], list[Row]] = {}
        for row in rows:
            if self.is_ready(row):
                row.look_ahead()
                by_kind.setdefault((row.ask.adapter, len(row.draft)), []).append(row)
        for alike in by_kind.values():
            for first in range(0, len(alike), size):
                yield alike[first : first + size]

    def is_ready(self, row: Row) -> bool:
        """Whether one id of a text is to be read, and the next one made."""
        return row.writes and not self._crosses(row)

    def _crosses(self, row: Row) -> bool:
        """Whether the text has come to where all positions are turned otherwise."""
        return self._switch is not None and row.read <= self._switch < len(row.ids)

    def _put_on(self, row: Row) -> None:
        """Have the adapter of a text on the model."""
        if self._adapted is not None and row.ask.adapter != self._adapter:
            self._adapted(row.ask.adapter)
            self._adapter = row.ask.adapter

    def _empty(self) -> Cache:
        return self._model.make_cache("paged")

    def _begun(self, row: Row) -> Cache:
        """A cache with as much of a text as is known."""
        known = None
        if self._prefixes is not None and self._has_prefixes(row):
            known = self._prefixes.find(row.ids, row.ask.adapter)
        return self._empty() if known is None else known

    def remember(self, row: Row, *, file: bool) -> None:
        """Keep what was read of a text for others that begin alike."""
        if self._prefixes is not None and row.cache is not None and self._has_prefixes(row):
            self._prefixes.keep(row.ids[: row.read], row.cache, row.ask.adapter, file=file)

    def _has_prefixes(self, row: Row) -> bool:
        """Ids say all of a text; not of one with images, whose features have the same ids."""
        return not row.ask.media and self._switch is None
