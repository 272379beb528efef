"""What a report consists of, as data, whatever it is written as."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """One plot.

    Args:
        svg: the drawing.
        caption: what it shows, in a sentence.
        narrow: the same for narrow screens; without it, the drawing fits both.
        numbers: what it shows as a table, for reports without drawings.
    """

    svg: str
    caption: str
    narrow: str | None = None
    numbers: Table | None = None


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
        words: how many of the first columns hold words; the others hold figures.
        marked: indices of rows that stand out.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    marked: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A prompt and how a model went on."""

    prompt: str
    text: str
    settings: str


@dataclass(frozen=True)
class Detail:
    """A text that is folded away until it is asked for."""

    summary: str
    text: str


@dataclass(frozen=True)
class Section:
    """One part of the report, with a heading. What is empty is left out."""

    title: str
    lead: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    samples: tuple[Sample, ...] = ()
    details: tuple[Detail, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole report.

    Args:
        subtitle: when and on what it was measured.
    """

    title: str
    subtitle: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = field(default=())
