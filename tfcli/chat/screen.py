"""Where a conversation is shown: Markdown that grows on a terminal, or the text as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from tfcli.console import Console
from tfcli.generation.display import printable, writer


class Screen(Protocol):
    """Shows answers."""

    def answer(self) -> AbstractContextManager[Callable[[str], None]]:
        """A context in which pieces of an answer are shown."""


class TerminalScreen:
    """A terminal: the answer is drawn as Markdown while it comes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def answer(self) -> Iterator[Callable[[str], None]]:
        """Pieces of an answer are shown as one text, drawn anew."""
        from rich.live import Live
        from rich.markdown import Markdown

        text = ""
        with Live(
            console=self._console.out, refresh_per_second=8, vertical_overflow="visible"
        ) as live:

            def show(piece: str) -> None:
                nonlocal text
                text += piece
                live.update(Markdown(printable(text)))

            yield show


class PlainScreen:
    """A pipe or a file: every byte of the answer, and a line end."""

    def __init__(self, out: TextIO) -> None:
        self._write = writer(out)

    @contextmanager
    def answer(self) -> Iterator[Callable[[str], None]]:
        """Pieces of an answer are written at once."""
        try:
            yield self._write
        finally:
            self._write("\n")


class NoScreen:
    """Nothing is shown: the result has all that was said."""

    @contextmanager
    def answer(self) -> Iterator[Callable[[str], None]]:
        """Pieces of an answer are dropped."""
        yield lambda piece: None


def screen_of(out: TextIO | None, console: Console) -> Screen:
    """What shows answers on a stream; None: nothing does."""
    if out is None:
        return NoScreen()
    return TerminalScreen(console) if out.isatty() else PlainScreen(out)


def messages_typed(console: Console) -> Iterator[str]:
    """What the user types, message by message, or the lines of standard input.

    A line that ends with a backslash goes on with the next one. Ctrl-D ends the conversation;
    Ctrl-C drops what was typed.
    """
    terminal = sys.stdin.isatty()
    if terminal:
        _edit_lines()
    while True:
        lines: list[str] = []
        try:
            while True:
                line = _line("... " if lines else ">>> ", terminal)
                lines.append(line.removesuffix("\\"))
                if not line.endswith("\\"):
                    break
        except EOFError:
            return
        except KeyboardInterrupt:
            console.note("\n(Ctrl-D ends the conversation)")
            continue
        text = "\n".join(lines)
        if text.strip():
            yield text


def _line(mark: str, terminal: bool) -> str:
    if terminal:
        return input(mark)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _edit_lines() -> None:
    """Arrow keys and a history of lines, where the system has them."""
    try:
        import readline
    except ImportError:  # Windows has none; lines can be typed all the same
        return
    readline.set_history_length(1000)
