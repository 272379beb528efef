"""An engine: one thread that owns a model, and makes the texts that others ask for.

Texts join and leave at any step. Each has a cache of its own (`models/caches/paged.py`); in a step
of decoding those of some texts are joined, and the model makes one position of each, or several
where they were drafted. A long prompt is read in parts, one part between two steps, so that it
holds up no other text for long.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto

import torch

from tfcli.errors import WorkError
from tfcli.models.model import Model
from tfcli.serve.ask import Ask, Listen
from tfcli.serve.blame import blamed
from tfcli.serve.passes import EngineLimits, Passes
from tfcli.serve.prefixes import Prefixes
from tfcli.serve.row import Row
from tfcli.tokenizers.load import Tokenizer


class BusyError(WorkError):
    """More texts wait than there is room for."""


class EndingError(BusyError):
    """The engine takes nothing more."""


class _Word(Enum):
    """What an engine's thread is told beside texts: to look for what was cancelled, or to end."""

    LOOK = auto()
    END = auto()


class Engine:
    """Makes texts. Its methods may be called from any thread.

    Args:
        model: with a head that continues texts, in eval mode; the engine's alone from now on.
        tokenizer: of the model.
        limits: see `EngineLimits`.
        prefixes: what was read before; None remembers nothing.
        adapted: puts an adapter of a name on the model, or with None takes it off.

    Attributes:
        drafted, kept: ids that were drafted, and how many of them came.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        limits: EngineLimits | None = None,
        prefixes: Prefixes | None = None,
        adapted: Callable[[str | None], None] | None = None,
    ) -> None:
        self.limits = limits or EngineLimits()
        self._tokenizer, self._prefixes = tokenizer, prefixes
        self._passes = Passes(model, self.limits, prefixes, adapted)
        self._new: queue.SimpleQueue[Row | _Word] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: list[Row] = []
        self._active: list[Row] = []
        self.drafted = self.kept = 0
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
        row = Row(ask, listen, self._tokenizer)
        if row.positions > self.limits.positions:
            raise WorkError(
                f"the text may have {row.positions:,} positions, and the server's caches hold "
                f"{self.limits.positions:,}",
                fix="ask for fewer tokens, or start the server with a larger cache",
            )
        with self._lock:
            if self._closed:
                raise EndingError("the server ends", fix="ask another one")
            if self._count >= self.limits.rows + self.limits.waiting:
                raise BusyError("too many requests wait", fix="ask again later")
            self._count += 1
            self._new.put(row)  # before the word that ends the thread, or nobody would take it
        return row

    def cancel(self, row: Row) -> None:
        """Nobody waits for a text any more; its place is free at the next step."""
        row.cancelled = True
        self._new.put(_Word.LOOK)

    def close(self) -> None:
        """Take nothing more, cancel what is left and end the thread."""
        with self._lock:
            self._closed = True
        self._new.put(_Word.END)
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        while self._receive():
            self._drop_ended()
            self._admit()
            self._read_some()
            for rows in self._passes.groups(self._active):
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
            if item is _Word.END:
                return False
            if isinstance(item, Row):
                self._waiting.append(item)

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
        row = next((row for row in self._active if not self._passes.is_ready(row)), None)
        if row is None:
            return
        with blamed([row]):
            logits = self._passes.part(row)
            if logits is not None:
                row.take(logits)
        self._finish([row])

    def _write(self, rows: Sequence[Row]) -> None:
        """Make the next token of some texts, and as many more as were drafted rightly."""
        with blamed(rows):
            logits = self._passes.step(rows)
            for row, each in zip(rows, logits, strict=True):
                with blamed([row]):
                    row.take_all(each)
                with blamed([row]):
                    self._passes.take_back(row)
                self.drafted += len(row.draft)
        self._finish(rows)

    def _finish(self, rows: Sequence[Row]) -> None:
        """Let go of those that have ended."""
        for row in rows:
            if row.ended and row in self._active:
                with blamed([row]):
                    self._passes.remember(row, file=True)
                self._active.remove(row)
                self._gone(row)

    def _gone(self, row: Row) -> None:
        row.cache = None
        self.kept += row.kept
        with self._lock:
            self._count -= 1
