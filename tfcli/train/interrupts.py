"""Ctrl-C between two steps instead of within one, answered at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While active, the first SIGINT or SIGTERM is noted and a SIGINT after it interrupts at once.

    A further SIGTERM changes nothing: torchrun and what manages the machine both send one, and who
    cannot wait sends SIGKILL.

    Stopping in the middle of an optimizer step would leave half of the weights updated, which is no
    state to make a checkpoint of.

    Python runs its handlers between two of its own instructions, and a backward pass is a single
    one that may take many seconds. So the answer comes from a thread, which the interpreter's pipe
    for signals wakes.

    Args:
        answer: called once, in a thread of its own, when the first signal comes.
    """

    def __init__(self, answer: Callable[[], None] = lambda: None) -> None:
        self.asked = False
        self._answer = answer
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)  # as signal.set_wakeup_fd asks
            self._old_writer = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
            self._old = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._old:
            return
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_writer)
        os.close(self._writer)  # the listener comes to the pipe's end
        self._listener.join()
        os.close(self._reader)

    def _listen(self) -> None:
        answered = False
        while number := os.read(self._reader, 1):
            if number[0] in SIGNALS and not answered:
                answered = True
                self._answer()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
