"""Showing text on a terminal while it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tfcli.console import Console

_SHOWN = 1500  # characters; what is longer scrolls away


@contextmanager
def preview(console: Console, start: str) -> Iterator[Callable[[str], None]]:
    """Show `start` and every piece that the yielded function is given, on stderr.

    The preview is erased at the end: the result itself goes to stdout. In a pipe or a log file
    nothing is shown.
    """
    if console.quiet or not console.err.is_terminal:
        yield lambda piece: None
        return
    from rich.live import Live
    from rich.text import Text

    text = start
    with Live(console=console.err, transient=True, refresh_per_second=12) as live:

        def add(piece: str) -> None:
            nonlocal text
            text = (text + piece)[-_SHOWN:]
            live.update(Text(printable(text)))

        add("")
        yield add


def printable(text: str) -> str:
    """The text without characters that would control the terminal."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)
