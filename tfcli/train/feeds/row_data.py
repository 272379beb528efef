"""The rows that a spec names as samples: recognised, tokenized, and those that serve chosen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tfcli.console import Console
from tfcli.data.formats.format import Format
from tfcli.data.formats.plain import TEXT
from tfcli.data.formats.registry import find_format, read_sample, unknown_format
from tfcli.data.formats.sample import Chat, Sample
from tfcli.data.layout import DataPlace, find_data, here
from tfcli.data.media import Medium
from tfcli.data.media_supervised import MismatchError
from tfcli.data.row_files import READERS
from tfcli.data.rows import Row, first_row, read_rows, row_files
from tfcli.data.supervised import Encoder
from tfcli.errors import UsageError, WorkError
from tfcli.files import digest_file
from tfcli.processes import is_first_process
from tfcli.recipe.content import is_stream
from tfcli.train.data_spec import RowsSection
from tfcli.train.feeds.held_out import text_key
from tfcli.train.feeds.row_store import Made, RowStore, held_store, row_store
from tfcli.train.feeds.rows import Samples
from tfcli.train.spec import TrainSpec
from tfcli.units import plural

TEXTS = {".txt", ".md", ".rst"}
_NAMED = 10  # rows in which something is wrong
_PROBED = 1_024  # samples whose learned ids are counted together


@dataclass(frozen=True)
class RowData:
    """The rows of one file or folder, and the format that they have.

    Args:
        ref: of the file, folder or data set, as it is named.
        split: which of its splits.
        rows: all of them.
        format: of the rows.
        columns: what the format calls a column -> what the file calls it.
    """

    ref: str
    split: str
    rows: Sequence[Row]
    format: Format
    columns: Mapping[str, str]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.ref if here(self.ref) is None else Path(self.ref).name


@dataclass(frozen=True)
class Chosen:
    """The samples that serve, and how many do not.

    Args:
        samples: those that have something to learn, within the length.
        learned (ndarray): [n] how many tokens of each are to be learned.
        long: those that were longer than the length.
        empty: those without anything to learn.
        torn: those that would lose a part of their media with their ends.
    """

    samples: Samples
    learned: np.ndarray
    long: int
    empty: int
    torn: int


def find_rows(
    spec: TrainSpec,
    path: str,
    split: str = "train",
    *,
    alone: bool = True,
    streamed: bool = False,
) -> RowData | None:
    """The rows at a path; None where it holds plain text.

    Args:
        alone: nothing else is trained on, so that keys of `rows` are refused beside plain text.
        streamed: the rows are read later; only the first is looked at.

    Raises:
        UsageError: keys of `rows` that have no effect on plain text, or do not fit the columns.
        WorkError: rows of no known format, or none at all.
    """
    given = spec.rows
    if given.format != TEXT.name and _has_rows(find_data(path)):
        first = first_row(path, split=split, streamed=streamed)
        named = spec.text_field != TrainSpec.model_fields["text_field"].default
        if given.format is None and not spec.columns and (named or "text" in first.values):
            if alone:
                refuse_for_plain(spec)
            return None
        if named:
            raise UsageError("text_field has no effect on rows", where="text_field")
        found = find_format(first, spec.columns, given.format)
        if found is TEXT:
            raise UsageError(
                "the column of plain text is named by text_field",
                where="columns",
                fix=f"text_field: {spec.columns.get('text')}",
            )
        if found is None:
            raise unknown_format(first)
        rows = () if streamed else read_rows(path, split=split)
        return RowData(path, split, rows, found, spec.columns)
    if alone:
        refuse_for_plain(spec)
    return None


def samples_of(data: RowData, encoder: Encoder, console: Console) -> RowStore:
    """All samples of some rows, tokenized now or before.

    Raises:
        UsageError: conversations, and the model has no chat template.
        WorkError: a row that is not of the format, or that the chat template does not take; names
            file and line.
    """
    identity = {
        "files": _digests(data),
        "media": _media_digests(data, console) if encoder.takes_media else None,
        "format": data.format.name,
        "columns": dict(data.columns),
        **encoder.identity,
    }
    return row_store(identity, _made(data, encoder, console))


def held_samples(data: RowData, encoder: Encoder) -> RowStore:
    """All samples of rows that are few, in memory.

    Raises:
        UsageError, WorkError: as `samples_of`.
    """
    return held_store(_made(data, encoder, Console.silent()))


def choose(
    store: RowStore, data: RowData, length: int, spec: RowsSection, console: Console, key: str
) -> Chosen:
    """The samples that can be learned from; what is left out is said aloud.

    Args:
        length: tokens that a sample predicts at most.
        key: the key of the data, for errors.

    Raises:
        WorkError: none is left; a long one where that is to be an error; or nothing is masked.
    """
    chosen = pick(store, data, length, spec)
    if is_first_process():
        _tell(chosen, store, data, spec, console)
    if not len(chosen.samples):
        raise WorkError(
            f"no row has a token to learn: of {len(store):,}, {chosen.long:,} are too long and "
            f"{chosen.empty:,} have nothing of the assistant's",
            where=key,
            fix="a larger sequence_length, or look at the rows",
        )
    if spec.train_on == "assistant" and (chosen.learned == chosen.samples.sizes).all():
        raise WorkError(
            "nothing is masked: every token of every row is to be learned",
            where=key,
            fix="see whether the rows have prompts; or say so: `rows: {train_on: all}`",
        )
    return chosen


def pick(store: RowStore, data: RowData, length: int, spec: RowsSection) -> Chosen:
    """The samples that can be learned from, perhaps none.

    Args:
        length: tokens that a sample predicts at most.

    Raises:
        WorkError: a long one where that is to be an error.
    """
    sizes = np.maximum(np.diff(store.starts) - 1, 0)
    long = sizes > length
    if spec.truncate == "error" and long.any():
        first = int(np.argmax(long))
        raise WorkError(
            f"{plural(int(long.sum()), 'row')} of {len(store):,} have more than {length:,} tokens; "
            f"the first has {int(sizes[first]) + 1:,}",
            where=data.rows[int(store.rows[first])].where,
            fix="a larger sequence_length, or rows.truncate: drop or cut",
        )
    kept = np.minimum(sizes, length) if spec.truncate == "cut" else np.where(long, 0, sizes)
    # What is predicted of a row is read but for its last id, and a medium is read whole.
    torn = (store.through > kept) & (kept > 0)
    kept = np.where(torn, 0, kept)
    learned = _learned(store, kept)
    which = np.flatnonzero(learned)
    # Those that are too long are counted as such, whatever is in them.
    empty = (
        int((~long & (learned == 0)).sum())
        if spec.truncate == "drop"
        else int((learned == 0).sum())
    )
    return Chosen(
        Samples(store, which, length, partial(_media_of, data)),
        learned[which],
        int(long.sum()),
        empty - int(torn.sum()),
        int(torn.sum()),
    )


def sample_key(sample: Sample) -> int:
    """A number of 63 bits that equal samples share."""
    text = json.dumps([type(sample).__name__, asdict(sample)], sort_keys=True, default=str)
    return text_key(text)


def _has_rows(place: DataPlace) -> bool:
    """Whether there are files of rows at a place. A .json file among texts is none of data."""
    path = place.path
    if place.is_folder:
        kinds = {each.suffix.lower() for each in place.names()}
        found = kinds & READERS.keys()
        return bool(found) and not (kinds & TEXTS and found == {".json"})
    return path.suffix.lower() in READERS and not is_stream(path)


def _texts_beside(ref: str) -> list[str]:
    """The files of plain text in a folder of rows."""
    place = find_data(ref)
    if not place.is_folder:
        return []
    return sorted(each.name for each in place.names() if each.suffix.lower() in TEXTS)


def refuse_for_plain(spec: TrainSpec) -> None:
    """Refuse what has no effect on plain text.

    Raises:
        UsageError: naming the key.
    """
    fields = RowsSection.model_fields.items()
    given = {f"rows.{name}": getattr(spec.rows, name) != field.default for name, field in fields}
    given |= {"columns": bool(spec.columns), "rows.format": False}
    for key, has_a_value in given.items():
        if has_a_value:
            raise UsageError(
                f"{key} has no effect on plain text, which is cut into windows",
                where=key,
                fix="leave it out, or give rows with prompts and completions, or conversations",
            )


def _digests(data: RowData) -> list[str]:
    return [digest_file(file) for file in row_files(data.ref, data.split)]


def _media_of(data: RowData, number: int) -> tuple[Sequence[Medium], str]:
    """The media of a row, and what to call it."""
    row = data.rows[number]
    sample = read_sample(row, data.format, data.columns)
    return (sample.media if isinstance(sample, Chat) else ()), row.where


def _media_digests(data: RowData, console: Console) -> str:
    """A hash of what the files of media hold that rows name."""
    found = hashlib.sha256()
    with console.progress(f"look at media of {data.name}", len(data.rows), "row") as bar:
        for number in range(len(data.rows)):
            for medium in _media_of(data, number)[0]:
                if isinstance(medium.source, str) and Path(medium.source).is_file():
                    found.update(f"{medium.source} {digest_file(Path(medium.source))}\n".encode())
            bar.advance()
    return found.hexdigest()


def _made(data: RowData, encoder: Encoder, console: Console) -> Iterator[Made]:
    wrong: list[MismatchError] = []
    with console.progress(f"tokenize {data.name}", len(data.rows), "row") as bar:
        for number, row in enumerate(data.rows):
            sample = read_sample(row, data.format, data.columns)
            key = sample_key(sample)
            try:
                found = encoder.encode(sample, row.where)
            except MismatchError as error:
                wrong.append(error)
                found = []
            for tokens in found:
                yield Made(tokens, number, key, len(found) > 1, encoder.ends(tokens))
            bar.advance()
    if wrong:
        raise _all_of(wrong, len(data.rows))


def _all_of(wrong: Sequence[MismatchError], rows: int) -> WorkError:
    """One error about all rows in which media and their places differ."""
    first, others = wrong[0], [str(each.where) for each in wrong[1:]]
    if not others:
        return first
    named = ", ".join(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
    return WorkError(
        f"of {rows:,} rows, {len(wrong):,} have other places for media than there are features; "
        f"the first: {first.what}",
        where=f"{first.where}; then {named}",
        fix=first.fix,
    )


def _learned(store: RowStore, sizes: np.ndarray) -> np.ndarray:
    """How many of the first `sizes` targets of each sample are to be learned; the first id of a
    sample is no target."""
    counts = np.zeros(len(store), np.int64)
    for first in range(0, len(store), _PROBED):
        starts = store.starts[first : first + _PROBED + 1]
        upto = np.zeros(int(starts[-1] - starts[0]) + 1, np.int64)
        np.cumsum(store.learned[starts[0] : starts[-1]], out=upto[1:])
        begins = np.minimum(starts[:-1] + 1, starts[1:]) - starts[0]
        counts[first : first + _PROBED] = (
            upto[begins + sizes[first : first + _PROBED]] - upto[begins]
        )
    return counts


def _tell(
    chosen: Chosen, store: RowStore, data: RowData, spec: RowsSection, console: Console
) -> None:
    total, learned = int(chosen.samples.sizes.sum()), int(chosen.learned.sum())
    share = learned / total if total else 0.0
    console.note(
        f"{data.name}: {plural(len(data.rows), 'row')} of the format {data.format.name}, "
        f"{total:,} tokens, {share:.0%} of them to be learned"
    )
    texts = _texts_beside(data.ref)
    if texts:
        console.note(
            f"{data.name}: {plural(len(texts), 'file')} of plain text beside the rows left "
            f"out: {', '.join(texts[:3])}{', ...' if len(texts) > 3 else ''}"
        )
    counts = store.counts
    if counts.turns:
        console.note(
            f"{data.name}: the chat template writes earlier turns in another way, so "
            f"{counts.turns:,} turns of the assistant's are examples of their own"
        )
    if counts.endless:
        console.warn(
            f"{data.name}: {counts.endless:,} of {len(store):,} rows end without a special "
            "token, so the model does not learn from them where to stop"
        )
    if chosen.long:
        done = "lose their ends" if spec.truncate == "cut" else "are left out"
        console.warn(
            f"{data.name}: {chosen.long:,} of {len(store):,} rows have more tokens than "
            f"sequence_length and {done} (rows.truncate)"
        )
    if chosen.torn:
        console.warn(
            f"{data.name}: {chosen.torn:,} of {len(store):,} rows would lose a part of their "
            "media with their ends and are left out"
        )
    if chosen.empty:
        console.warn(
            f"{data.name}: {chosen.empty:,} of {len(store):,} rows have no token to learn "
            "and are left out"
        )
