"""What a person sees: results on stdout, progress and notes on stderr.

rich is imported when the first line is printed, so that `tfcli --help` does not pay for it here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID


LOG_SECONDS = 20
"""Time between two lines of progress where no bar can be drawn."""


class Bar(Protocol):
    """Progress of one piece of work: how far, how fast, and what the work says of itself."""

    def advance(self, n: float = 1) -> None:
        """Move on by `n` units."""

    def show(self, **fields: str) -> None:
        """Show named figures with the progress, in the order given, for example `loss="2.31"`."""


class DrawnBar:
    """A bar that is redrawn in a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, n: float = 1) -> None:
        self._progress.advance(self._task, n)

    def show(self, **fields: str) -> None:
        self._progress.update(self._task, fields=_spell(fields))


class LoggedBar:
    """A line now and then, for a log file or a pipe; short work gets none."""

    def __init__(self, say: Callable[[str], None], description: str, total: float) -> None:
        self._say, self._description, self._total = say, description, total
        self._done = 0.0
        self._fields: dict[str, str] = {}
        self._began = self._said = monotonic()

    def advance(self, n: float = 1) -> None:
        self._done += n
        now = monotonic()
        if now - self._said >= LOG_SECONDS:
            self._said = now
            left = (now - self._began) / self._done * (self._total - self._done)
            self._say(
                f"{self._description} {self._done:g}/{self._total:g}  {_spell(self._fields)}  "
                f"{left:.0f} s left"
            )

    def show(self, **fields: str) -> None:
        self._fields = fields


class NoBar:
    """No progress at all, for --quiet."""

    def advance(self, n: float = 1) -> None:
        """Say nothing."""

    def show(self, **fields: str) -> None:
        """Say nothing."""


def _spell(fields: dict[str, str]) -> str:
    return visible("  ".join(f"{name} {value}" for name, value in fields.items()))


_JOINERS = "\u200c\u200d"  # Persian words and emoji are written with them; they move nothing


def visible(text: str, kept: str = "\n") -> str:
    """A text of unknown origin, such as a file's name, with its control characters spelt out.

    It could write anywhere on the user's terminal with them, and those that turn the direction of
    writing let a name look like another.

    Args:
        kept: control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(c if shown(c) or c in kept else repr(c)[1:-1] for c in text)


def shown(char: str) -> bool:
    """Whether a character is one to look at, and no command to whatever shows it."""
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"


def _plain_console(*, stderr: bool) -> RichConsole:
    """A rich console for which every text is a text.

    Names of files, models and tokens come from anyone and are in every table, note and bar. So
    what is printed is spelt out here, once, whatever prints it, and nothing in it is markup.
    """
    from rich.console import Console as RichConsole
    from rich.segment import Segment
    from rich.text import Text

    class PlainConsole(RichConsole):
        def render_str(self, text: str, **options: Any) -> Text:
            """A text before its width is measured."""
            return super().render_str(visible(text), **{**options, "markup": False})

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            """The pieces of anything that is printed; rich's own codes are `control`."""
            for piece in super().render(renderable, options):
                yield piece if piece.control else Segment(visible(piece.text), piece.style)

    return PlainConsole(stderr=stderr, highlight=False, emoji=False, markup=False)


@dataclass
class Console:
    """Where output goes. stdout carries results only; everything else goes to stderr.

    Args:
        quiet: no notes and no progress; errors and warnings stay.
        verbosity: 1 shows details too.
        json: results are one JSON object on stdout instead of tables.
    """

    quiet: bool = False
    verbosity: int = 0
    json: bool = False

    @classmethod
    def silent(cls) -> Console:
        """A console that prints nothing but warnings: for calls from code and tests."""
        return cls(quiet=True)

    @cached_property
    def out(self) -> RichConsole:
        """The rich console of stdout."""
        return _plain_console(stderr=False)

    @cached_property
    def err(self) -> RichConsole:
        """The rich console of stderr."""
        return _plain_console(stderr=True)

    def note(self, message: str) -> None:
        """Say what happens, on stderr."""
        if not self.quiet:
            self.err.print(message, soft_wrap=True)

    def detail(self, message: str) -> None:
        """Say more, on stderr, to those who asked with -v."""
        if self.verbosity and not self.quiet:
            self.err.print(message, style="dim", soft_wrap=True)

    def warn(self, message: str) -> None:
        """Say what the user should look at, on stderr, even when quiet."""
        self.err.print("warning:", message, style="yellow", soft_wrap=True)

    @property
    def redraws(self) -> bool:
        """Whether something can be shown that is drawn anew: a terminal that wants it."""
        return not self.quiet and self.err.is_terminal

    @contextmanager
    def live(self) -> Iterator[Callable[[RenderableType], None]]:
        """A view at the end of a terminal, which what is given to the function takes the place of.

        It is gone in the end; notes go above it.
        """
        from rich.live import Live

        with Live(console=self.err, transient=True, refresh_per_second=4) as live:
            yield live.update

    @contextmanager
    def progress(self, description: str, total: float, unit: str = "it") -> Iterator[Bar]:
        """A progress bar on stderr with speed (`unit`/s) and time left.

        In a pipe or a log file, where a bar cannot be redrawn, a line comes every LOG_SECONDS.
        """
        if self.quiet:
            yield NoBar()
            return
        if not self.redraws:
            yield LoggedBar(self.note, description, total)
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Speed(ProgressColumn):
            def render(self, task: Task) -> Text:
                rate = task.finished_speed or task.speed
                return Text(f"{rate:,.1f} {unit}/s" if rate else "", style="cyan")

        columns: list[Any] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            Speed(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[fields]}", markup=False),
        ]
        with Progress(*columns, console=self.err, transient=True) as progress:
            yield DrawnBar(
                progress, progress.add_task(visible(description), total=total, fields="")
            )
