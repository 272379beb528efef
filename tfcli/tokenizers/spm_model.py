"""Reading a SentencePiece .model, a protobuf message, without a protobuf library.

Field numbers: sentencepiece_model.proto of google/sentencepiece. Each length is compared with what
is left of the file before anything is taken, so a hostile file costs no more than its own size.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.errors import WorkError
from tfcli.limits import MAX_TOKEN, MAX_TOKENS
from tfcli.tokenizers.bounded import read_bounded
from tfcli.tokenizers.charsmap import check_charsmap

UNIGRAM, BPE = 1, 2
KINDS = {1: "Unigram", 2: "BPE", 3: "word", 4: "character"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class SpmModel:
    """What a .model says, as far as it decides ids.

    Args:
        file: where it was read.
        data: its bytes, for the sentencepiece library.
        pieces: text and log probability (or minus the merge rank) of each id.
        types: the type of each piece.
        kind: UNIGRAM or BPE.
        names: role -> piece, such as `bos_token`; only the roles that the model has.
        byte_fallback: unknown characters are spelt as bytes, `<0xNN>`.
        charsmap: the normalizer's character map, checked; may be empty.
        add_dummy_prefix: a text begins with a space.
        remove_extra_whitespaces: runs of spaces are one, and none stand at either end.
    """

    file: Path
    data: bytes
    pieces: list[tuple[str, float]]
    types: list[int]
    kind: int
    names: dict[str, str]
    byte_fallback: bool
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool

    @property
    def unk(self) -> str:
        """The piece for what the model does not know."""
        return self.names["unk_token"]

    def of_type(self, *types: int) -> list[str]:
        """The pieces of some types, by id."""
        found = zip(self.pieces, self.types, strict=True)
        return [piece for (piece, _), kind in found if kind in types]


def read_spm(file: Path) -> SpmModel:
    """Read and check a .model.

    Raises:
        WorkError: not such a file, damaged, or a kind of model that is not covered.
    """
    data = read_bounded(file)
    pieces: list[tuple[str, float]] = []
    types: list[int] = []
    seen: dict[str, int] = {}
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(data, 0, len(data), str(file)):
        if number == 1:
            where = f"{file}, piece {len(pieces)}"
            text, score, kind = _piece(data, _span(value, where), where)
            if text in seen:
                raise WorkError(f"is piece {seen[text]} again, {text[:40]!r}", where=where)
            if len(pieces) == MAX_TOKENS:
                raise WorkError(f"has more than {MAX_TOKENS:,} pieces", where=str(file))
            seen[text] = len(pieces)
            pieces.append((text, score))
            types.append(kind)
        elif number in (2, 3):
            into = trainer if number == 2 else normalizer
            spec = _fields(data, *_span(value, str(file)), str(file))
            into.update((field, found) for field, found in spec if field < 64)  # all that exist
    if not pieces or 2 not in types:
        raise WorkError("is not a SentencePiece model: it has no pieces", where=str(file))
    charsmap = _bytes(data, normalizer.get(2, (0, 0)), file)
    if charsmap:
        check_charsmap(charsmap, str(file))
    model = SpmModel(
        file=file,
        data=data,
        pieces=pieces,
        types=types,
        kind=trainer.get(3, UNIGRAM),
        names=_names(data, trainer, pieces, types, file),
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=charsmap,
        add_dummy_prefix=bool(normalizer.get(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get(4, 1)),
    )
    _refuse_uncovered(model, trainer, normalizer)
    return model


def _refuse_uncovered(model: SpmModel, trainer: dict[int, Any], normalizer: dict[int, Any]) -> None:
    problem = None
    if model.kind not in (UNIGRAM, BPE):
        problem = f"it is a {KINDS.get(model.kind, model.kind)} model"
    elif UNUSED in model.types:
        problem = f"piece {model.types.index(UNUSED)} is marked as unused"
    elif trainer.get(24, 0):
        problem = "it puts spaces at the ends of words (treat_whitespace_as_suffix)"
    elif not normalizer.get(5, 1):
        problem = "it leaves spaces as they are (escape_whitespaces is off)"
    if problem:
        raise WorkError(
            f"{problem}, which is not covered",
            where=str(model.file),
            fix="use a folder with a tokenizer.json; covered are Unigram and BPE models",
        )


def _names(
    data: bytes,
    trainer: dict[int, Any],
    pieces: list[tuple[str, float]],
    types: list[int],
    file: Path,
) -> dict[str, str]:
    """Role -> piece. An id below zero says that the model has no such piece."""
    roles = (
        ("unk_token", 40, 0),
        ("bos_token", 41, 1),
        ("eos_token", 42, 2),
        ("pad_token", 43, -1),
    )
    names = {}
    for role, number, default in roles:
        index = trainer.get(number, default)
        index = index - (1 << 64) if isinstance(index, int) and index >= 1 << 63 else index
        if isinstance(index, int) and 0 <= index < len(pieces):
            names[role] = pieces[index][0]
    unknown = types.index(UNKNOWN)
    names["unk_token"] = pieces[unknown][0]
    return names


def _piece(data: bytes, span: tuple[int, int], where: str) -> tuple[str, float, int]:
    text, score, kind = b"", 0.0, NORMAL
    for number, value in _fields(data, *span, where):
        if number == 1:
            start, end = _span(value, where)
            if end - start > MAX_TOKEN:
                raise WorkError(f"is longer than {MAX_TOKEN:,} bytes", where=where)
            text = data[start:end]
        elif number == 2 and isinstance(value, float):
            score = value
        elif number == 3 and isinstance(value, int):
            kind = value
    if not text:
        raise WorkError("is empty", where=where)
    if not math.isfinite(score):
        raise WorkError(f"has the score {score}", where=where)
    try:
        return text.decode("utf-8"), score, kind
    except UnicodeDecodeError:
        raise WorkError("is not UTF-8 text", where=where) from None


def _fields(
    data: bytes, start: int, end: int, where: str
) -> Iterator[tuple[int, int | float | tuple[int, int]]]:
    """The fields of a message in `data[start:end]`: number, and an int, a float or a span."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end, where)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at, end, where)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at, end, where)
            if length > end - at:
                raise WorkError(
                    f"is damaged: field {number} claims {length:,} bytes, {end - at:,} are left",
                    where=where,
                )
            yield number, (at, at + length)
            at += length
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            if width > end - at:
                raise WorkError(f"is damaged: it ends in field {number}", where=where)
            yield number, struct.unpack_from("<d" if wire == 1 else "<f", data, at)[0]
            at += width
        else:
            raise WorkError("is not a SentencePiece model", where=where)


def _varint(data: bytes, at: int, end: int, where: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WorkError("is not a SentencePiece model, or is damaged", where=where)


def _span(value: int | float | tuple[int, int], where: str) -> tuple[int, int]:
    if isinstance(value, tuple):
        return value
    raise WorkError("is not a SentencePiece model", where=where)


def _bytes(data: bytes, value: int | float | tuple[int, int], file: Path) -> bytes:
    start, end = _span(value, str(file))
    return data[start:end]
