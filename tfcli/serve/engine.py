"""An engine: one thread that owns a model, and makes the texts that others ask for.

Texts join and leave at any step. Each has a cache of its own (`models/caches/paged.py`); in a step
of decoding those of some texts are joined, and the model makes one position of each. A long prompt
is read in parts, one part between two steps, so that it holds up no other text for long.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tfcli.errors import WorkError
from tfcli.generation.readers import moved
from tfcli.models.cache import Cache
from tfcli.models.joined_cache import JoinedCache
from tfcli.models.kernels.dense import MOST_ROWS
from tfcli.models.model import Model
from tfcli.serve.ask import Ask, Listen
from tfcli.serve.blame import blamed
from tfcli.serve.prefixes import Prefixes
from tfcli.serve.row import Row
from tfcli.tokenizers.load import Tokenizer


class BusyError(WorkError):
    """More texts wait than there is room for, or the engine ends."""

    code = "work.failed"


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


class Engine:
    """Makes texts. Its methods may be called from any thread.

    Args:
        model: with a head that continues texts, in eval mode; the engine's alone from now on.
        tokenizer: of the model.
        limits: see `EngineLimits`.
        prefixes: what was read before; None remembers nothing.
        adapted: puts an adapter of a name on the model, or with None takes it off.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        limits: EngineLimits | None = None,
        prefixes: Prefixes | None = None,
        adapted: Callable[[str | None], None] | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.limits = limits or EngineLimits()
        self._prefixes, self._adapted = prefixes, adapted
        self._adapter: str | None = None
        self._switch = model.config.text.rotation_switch
        self._new: queue.SimpleQueue[Row | Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: list[Row] = []
        self._active: list[Row] = []
        self._count = 0  # texts that have not ended
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Texts that are made now."""
        return len(self._active)

    @property
    def unfinished(self) -> int:
        """Texts that are made or wait."""
        return self._count

    @property
    def remembered_bytes(self) -> int:
        """Memory that prefixes take."""
        return 0 if self._prefixes is None else self._prefixes.nbytes

    def submit(self, ask: Ask, listen: Listen) -> Row:
        """Have a text made.

        Returns:
            what `cancel` takes

        Raises:
            BusyError: too many wait, or the engine ends.
            WorkError: the text needs more than all the memory of caches.
        """
        row = Row(ask, listen, self.tokenizer)
        if row.positions > self.limits.positions:
            raise WorkError(
                f"the text may have {row.positions:,} positions, and the server's caches hold "
                f"{self.limits.positions:,}",
                fix="ask for fewer tokens, or start the server with a larger cache",
            )
        with self._lock:
            if self._closed:
                raise BusyError("the server ends", fix="ask another one")
            if self._count >= self.limits.rows + self.limits.waiting:
                raise BusyError("too many requests wait", fix="ask again later")
            self._count += 1
        self._new.put(row)
        return row

    def cancel(self, row: Row) -> None:
        """Nobody waits for a text any more; its place is free at the next step."""
        row.cancelled = True
        self._new.put(lambda: None)  # so that an idle engine looks

    def call(self, work: Callable[[], None]) -> None:
        """Have something done by the thread that owns the model, between two steps.

        Raises:
            BusyError: the engine ends.
        """
        with self._lock:
            if self._closed:
                raise BusyError("the server ends", fix="ask another one")
        self._new.put(work)

    def close(self) -> None:
        """Take nothing more, cancel what is left and end the thread."""
        with self._lock:
            self._closed = True
        self._new.put(None)
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        while self._receive():
            self._drop_ended()
            self._admit()
            self._read_some()
            for rows in self._groups():
                self._write(rows)
        for row in (*self._active, *self._waiting):
            row.end("cancelled")
            self._gone(row)
        self._active, self._waiting = [], []

    def _receive(self) -> bool:
        """Take what has come; waits where there is nothing to do. False: the engine ends."""
        while True:
            try:
                item = self._new.get(block=not self._active and not self._waiting)
            except queue.Empty:
                return True
            if item is None:
                return False
            if isinstance(item, Row):
                self._waiting.append(item)
            else:
                item()

    def _drop_ended(self) -> None:
        for rows in (self._active, self._waiting):
            for row in list(rows):
                if row.cancelled or row.late:
                    row.end("cancelled" if row.cancelled else "time")
                    rows.remove(row)
                    self._gone(row)

    def _admit(self) -> None:
        """Let texts begin in the order in which they came, as far as there is room."""
        while self._waiting and len(self._active) < self.limits.rows:
            row = self._waiting[0]
            taken = sum(each.positions for each in self._active)
            if taken + row.positions > self.limits.positions:
                return
            self._active.append(self._waiting.pop(0))

    def _read_some(self) -> None:
        """Read a part of the prompt that has waited longest."""
        row = next((row for row in self._active if not self._is_ready(row)), None)
        if row is None:
            return
        with blamed([row]):
            logits = self._part(row)
            if logits is not None:
                row.take(logits)
        self._finish([row])

    def _part(self, row: Row) -> torch.Tensor | None:
        """Read the next part of a text; the logits after the last, [1, vocab], if that was it."""
        self._put_on(row)
        if row.cache is None:
            row.cache = self._begun(row)
            row.reused = row.cache.length
        elif self._crosses(row):
            row.cache = self._empty()  # all positions are turned otherwise from now on
        whole = self._switch is not None or row.ask.media
        end = len(row.ids) if whole else min(len(row.ids), row.read + self.limits.part)
        new = torch.tensor([row.ids[row.read : end]], device=self.model.device)
        media = {} if row.read else moved(row.ask.media, self.model)
        found = self.model(input_ids=new, cache=row.cache, logits_to_keep=1, **media)
        if end < len(row.ids):
            return None
        if len(row.ids) == len(row.ask.ids):
            self._remember(row, file=False)
        assert isinstance(found.logits, torch.Tensor)
        return found.logits[:, -1]

    def _write(self, rows: Sequence[Row]) -> None:
        """Make the next token of some texts."""
        with blamed(rows):
            logits = self._next(rows)
            for row, each in zip(rows, logits.split(1), strict=True):
                with blamed([row]):
                    row.take(each)
        self._finish(rows)

    def _next(self, rows: Sequence[Row]) -> torch.Tensor:
        """The logits after the last ids of texts, [b, vocab]; these ids are read."""
        self._put_on(rows[0])
        new = torch.tensor([row.ids[-1:] for row in rows], device=self.model.device)
        caches = [row.cache for row in rows if row.cache is not None]
        if len(caches) == 1:
            found = self.model(input_ids=new, cache=caches[0], logits_to_keep=1)
        else:
            cache = JoinedCache(caches)
            mask = cache.attention_mask()
            found = self.model(input_ids=new, attention_mask=mask, cache=cache, logits_to_keep=1)
        assert isinstance(found.logits, torch.Tensor)
        return found.logits[:, -1].cpu()

    def _groups(self) -> Iterator[list[Row]]:
        """The texts that a pass can go on with together."""
        ready = [row for row in self._active if self._is_ready(row)]
        size = MOST_ROWS if self.model.device.type == "cpu" else self.limits.rows
        if self._switch is not None:  # how a position is turned depends on the longest beside it
            size = 1
        by_adapter: dict[str | None, list[Row]] = {}
        for row in ready:
            by_adapter.setdefault(row.ask.adapter, []).append(row)
        for rows in by_adapter.values():
            for first in range(0, len(rows), size):
                yield rows[first : first + size]

    def _is_ready(self, row: Row) -> bool:
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
        return self.model.make_cache("paged")

    def _begun(self, row: Row) -> Cache:
        """A cache with as much of a text as is known."""
        known = None
        if self._prefixes is not None and self._has_prefixes(row):
            known = self._prefixes.find(row.ids, row.ask.adapter)
        return self._empty() if known is None else known

    def _remember(self, row: Row, *, file: bool) -> None:
        if self._prefixes is not None and row.cache is not None and self._has_prefixes(row):
            self._prefixes.keep(row.ids[: row.read], row.cache, row.ask.adapter, file=file)

    def _has_prefixes(self, row: Row) -> bool:
        """Ids say all of a text; not of one with images, whose features have the same ids."""
        return not row.ask.media and self._switch is None

    def _finish(self, rows: Sequence[Row]) -> None:
        """Let go of those that have ended."""
        for row in rows:
            if row.ended and row in self._active:
                with blamed([row]):
                    self._remember(row, file=True)
                self._active.remove(row)
                self._gone(row)

    def _gone(self, row: Row) -> None:
        row.cache = None
        with self._lock:
            self._count -= 1
