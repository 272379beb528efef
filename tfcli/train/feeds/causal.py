"""What a causal language model learns from: windows of plain text, and samples of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfcli.data.rows import Row, row_shards
from tfcli.data.supervised import Encoder
from tfcli.errors import UsageError, WorkError
from tfcli.train.batch import Example
from tfcli.train.feeds.feed import Source
from tfcli.train.feeds.grouping import GroupedSource, PackedSource
from tfcli.train.feeds.held_out import held_out
from tfcli.train.feeds.media import MediaExample
from tfcli.train.feeds.mixture import joined, mixed
from tfcli.train.feeds.row_data import (
    RowData,
    choose,
    find_rows,
    held_samples,
    pick,
    refuse_for_plain,
    samples_of,
)
from tfcli.train.feeds.rows import RowSource, Samples
from tfcli.train.feeds.streamed import Streamed, streamed_texts
from tfcli.train.feeds.text import read_text, read_validation, tokens_of
from tfcli.train.feeds.windows import StreamSource, Windows
from tfcli.train.objectives.objective import Examples, Material
from tfcli.train.spec import TrainSpec
from tfcli.units import plural

MakeEncoder = Callable[[Material], Encoder]
"""What makes ids of rows; called where there are any."""


@dataclass(frozen=True)
class CausalExamples(Examples):
    """Examples, and one for batches without media.

    Args:
        spare: the shortest one with media; None where none has any.
    """

    spare: Example | None = None


@dataclass(frozen=True)
class Learned:
    """What one source gives.

    Args:
        train: the examples that are trained on.
        apart: those that are held out of it; None where that is not asked for.
        keys (ndarray): [n] numbers that equal texts, or equal rows, share; of what is trained on.
        rows: they are rows, and no plain text.
        spare: see `CausalExamples`.
    """

    train: Source[Example]
    apart: Sequence[Example] | None
    keys: np.ndarray
    rows: bool
    spare: Example | None = None


def causal_examples(material: Material, encoder: MakeEncoder) -> CausalExamples:
    """The examples of a spec's sources: `input_ids` and `targets`, [s]; `segment_ids` where
    several are packed into one. Those of rows with media are `MediaExample`.

    Args:
        material: what they are made of.
        encoder: of rows.

    Raises:
        UsageError: keys that have no effect on the data.
        WorkError: data that cannot be read or learned from; names the first row.
    """
    spec = material.spec
    owns = [material.of(source) for source in spec.sources]
    alone = len(owns) == 1
    rows = [
        find_rows(own.spec, source.path, own.spec.split, alone=alone, streamed=spec.stream)
        for own, source in zip(owns, spec.sources, strict=True)
    ]
    if not any(rows):
        refuse_for_plain(spec)
    if all(rows) and spec.fim.rate:
        raise UsageError(
            "rows have no middle that could be put last; plain texts have",
            where="fim",
            fix="leave it out, or name the text's column in text_field",
        )
    learned = [
        _learned(own, found, source.key, encoder)
        for own, source, found in zip(owns, spec.sources, rows, strict=True)
    ]
    train = mixed(spec, [each.train for each in learned])
    apart = [each.apart for each in learned if each.apart is not None]
    validation = joined(apart) if apart else _validation(material, learned, encoder)
    spares = [each.spare for each in learned if each.spare is not None]
    spare = min(spares, key=lambda each: len(each["input_ids"]), default=None)
    looks = spare is not None or (isinstance(validation, Samples) and validation.looking.any())
    return CausalExamples(_arranged(spec, train), validation, not looks, spare)


def _arranged(spec: TrainSpec, source: Source[Example]) -> Source[Example]:
    if spec.rows.packing:
        return PackedSource(source, spec.sequence_length, spec.seed)
    if spec.rows.group_by_length:
        return GroupedSource(source, spec.batch_size, spec.seed)
    return source


def _learned(material: Material, rows: RowData | None, key: str, encoder: MakeEncoder) -> Learned:
    if material.spec.stream:
        if rows is None:
            return Learned(_text_stream(material), None, np.zeros(0, np.int64), rows=False)
        return _row_stream(material, rows, key, encoder(material))
    if rows is None:
        return _of_text(material, key)
    return _of_rows(material, rows, key, encoder(material))


def _text_stream(material: Material) -> Streamed:
    """Windows of the documents of a buffer."""
    spec, length = material.spec, material.spec.sequence_length

    def windows(texts: list[str], number: int) -> Sequence[Example]:
        stream = tokens_of(texts, material.tokenizer, spec, number)
        return Windows.cut(stream, length) if len(stream) > 1 else []

    return streamed_texts(spec, material.console, windows)


def _row_stream(material: Material, data: RowData, key: str, encoder: Encoder) -> Learned:
    """Samples of the rows of a buffer; what is said aloud is said of the first, which also says
    whether rows have media."""
    spec, console = material.spec, material.console

    def samples(rows: list[Row], number: int) -> Samples:
        part = replace(data, rows=rows)
        store, length = held_samples(part, encoder), spec.sequence_length
        if not number:
            return choose(store, part, length, spec.rows, console, key).samples
        found = pick(store, part, length, spec.rows).samples
        if spare is None and found.looking.any():
            raise WorkError(
                "the row has media, and none of the first buffer has any",
                where=rows[int(store.rows[found.which[found.looking.argmax()]])].where,
                fix="put a row with media first, or give a larger stream_buffer",
            )
        return found

    files = row_shards(data.ref, data.split)
    source = Streamed(files, spec.stream_buffer, spec.seed, samples)
    spare = _shortest(source.part(0)) if encoder.takes_media else None
    return Learned(source, None, np.zeros(0, np.int64), rows=True, spare=spare)


def _shortest(examples: Sequence[Example]) -> Example | None:
    """The shortest example with media; None where none has any."""
    looking = [each for each in examples if isinstance(each, MediaExample)]
    return min(looking, key=lambda each: len(each["input_ids"]), default=None)


def _of_text(material: Material, key: str) -> Learned:
    spec = material.spec
    text = read_text(spec, material.tokenizer, material.console, key)
    apart = text.validation
    return Learned(
        StreamSource(text.stream, spec.sequence_length, spec.seed),
        None if apart is None else Windows.cut(apart, spec.sequence_length),
        text.keys,
        rows=False,
    )


def _of_rows(material: Material, rows: RowData, key: str, encoder: Encoder) -> Learned:
    spec = material.spec
    if spec.bpe_dropout:
        raise UsageError(
            "rows are tokenized once, and bpe_dropout would do it anew in each epoch",
            where="bpe_dropout",
            fix="leave it out",
        )
    train, apart = _samples(material, rows, key, encoder), None
    keys = train.store.keys[train.which]
    if spec.validation_share is not None:
        out = held_out(keys, spec.validation_share)
        train, apart = train.taking(np.flatnonzero(~out)), train.taking(np.flatnonzero(out))
        material.console.note(f"{plural(len(apart), 'row')} of {rows.ref} held out for validation")
        keys = keys[~out]
    spare = None
    if train.looking.any():
        sizes = np.where(train.looking, train.sizes, train.sizes.max() + 1)
        spare = train[int(sizes.argmin())]
    return Learned(RowSource(train, spec.seed), apart, keys, rows=True, spare=spare)


def _samples(material: Material, rows: RowData, key: str, encoder: Encoder) -> Samples:
    spec, console = material.spec, material.console
    store = samples_of(rows, encoder, console)
    return choose(store, rows, spec.sequence_length, spec.rows, console, key).samples


def _validation(
    material: Material, learned: Sequence[Learned], encoder: MakeEncoder
) -> Sequence[Example] | None:
    """The examples of validation data, of a kind that is trained on as well."""
    spec, found = material.spec, None
    if spec.validation is None:
        return None
    if any(each.rows for each in learned):
        found = find_rows(spec, spec.validation, spec.validation_split, alone=False)
    if found is not None:
        samples = _samples(material, found, "validation", encoder(material))
        _warn_of_both(material, samples.store.keys[samples.which], learned, "rows")
        return samples
    if all(each.rows for each in learned):
        raise UsageError("the data has rows, and the validation is plain text", where="validation")
    text = read_validation(spec, material.tokenizer, material.console)
    _warn_of_both(material, text.keys, learned, "documents")
    return Windows.cut(text.stream(0), spec.sequence_length)


def _warn_of_both(
    material: Material, apart: np.ndarray, learned: Sequence[Learned], what: str
) -> None:
    known = np.concatenate([each.keys for each in learned if each.rows == (what == "rows")])
    both = int(np.isin(apart, known).sum())
    if both:
        material.console.warn(f"{both:,} of the validation {what} are trained on as well")
