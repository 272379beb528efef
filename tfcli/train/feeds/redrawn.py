"""Rows of texts of which an example is drawn anew in each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfcli.data.documents import read_documents
from tfcli.errors import UsageError
from tfcli.train.batch import Example
from tfcli.train.data_spec import DataSource
from tfcli.train.feeds.feed import Source
from tfcli.train.feeds.mixture import mixed
from tfcli.train.feeds.rows_of_text import TextRow, text_rows
from tfcli.train.feeds.shuffled import Made, Shuffled
from tfcli.train.feeds.streamed import streamed_texts
from tfcli.train.objectives.objective import Examples, Material

Draw = Callable[[int, TextRow, int, int | str], Example]
"""A row's number, the row, a seed, and the epoch, or `validation` -> an example."""


def redrawn_examples(material: Material, draw: Draw, *, length: int, nothing: str) -> Examples:
    """The examples of a spec's sources, each of one document. Those of the validation are always
    the same.

    Args:
        draw: makes one, always alike of equal arguments.
        length: the most tokens of a row.
        nothing: what is said of texts without a row.

    Raises:
        UsageError: texts without a row.
        WorkError: files that cannot be read.
    """
    spec = material.spec

    def rows(own: Material, key: str, path: str, split: str) -> list[TextRow]:
        texts = read_documents(path, own.spec.text_field, split=split, console=own.console)
        found = text_rows(texts, material.tokenizer, length)
        if not found:
            raise UsageError(nothing, where=key)
        return found

    def source_of(source: DataSource) -> Source[Example]:
        own = material.of(source)
        seed = own.spec.seed
        if not spec.stream:
            found = rows(own, source.key, source.path, own.spec.split)
            return Shuffled(found, seed, lambda epoch, n, row: draw(n, row, seed, epoch))

        def drawn(texts: list[str], part: int) -> Sequence[Example]:
            cut = text_rows(texts, material.tokenizer, length)
            return [draw(number, row, seed, part) for number, row in enumerate(cut)]

        return streamed_texts(own.spec, own.console, drawn)

    train = mixed(spec, list(map(source_of, spec.sources)))
    if spec.validation is None:
        return Examples(train, None)
    held = rows(material, "validation", spec.validation, spec.validation_split)
    apart = Made(lambda n: draw(n, held[n], spec.seed, "validation"), range(len(held)))
    return Examples(train, apart)
