"""Writing the pairs of a split."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tfcli.data.run import write_lines
from tfcli.errors import WorkError
from tfcli.files import write_json
from tfcli.pairs.read import SOURCE, TARGET, Pair
from tfcli.pairs.spec import Form


def require_lines(split: str, pairs: Sequence[Pair]) -> None:
    """Refuse texts that are not one line, before the work.

    Raises:
        WorkError: naming the first pair with one.
    """
    for number, pair in enumerate(pairs, 1):
        if len(f"{pair.source} {pair.target}".splitlines()) > 1:
            raise WorkError(
                f"a text of pair {number} of {split} has a line break: it is not one line",
                where="format",
                fix="--format jsonl",
            )


def write_pairs(folder: Path, split: str, pairs: Sequence[Pair], form: Form) -> list[str]:
    """Write a split; gives the names of the files. For `lines` see `require_lines`."""
    return _WRITERS[form](folder, split, pairs)


def write_lengths(folder: Path, split: str, lengths: Sequence[int]) -> str:
    """Write the tokens of each pair as a list; gives the name of the file."""
    name = f"{split}.lengths.json"
    (folder / name).write_text(json.dumps(list(lengths)) + "\n", encoding="utf-8")
    return name


def _rows(folder: Path, split: str, pairs: Sequence[Pair]) -> list[str]:
    name = f"{split}.jsonl"
    write_lines(folder / name, ({"source": pair.source, "target": pair.target} for pair in pairs))
    return [name]


def _json(folder: Path, split: str, pairs: Sequence[Pair]) -> list[str]:
    name = f"{split}.json"
    write_json(
        folder / name,
        {"src": [pair.source for pair in pairs], "tgt": [pair.target for pair in pairs]},
    )
    return [name]


def _lines(folder: Path, split: str, pairs: Sequence[Pair]) -> list[str]:
    for ending, texts in (
        (SOURCE, [pair.source for pair in pairs]),
        (TARGET, [pair.target for pair in pairs]),
    ):
        text = "".join(f"{text}\n" for text in texts)
        (folder / f"{split}{ending}").write_text(text, encoding="utf-8")
    return [f"{split}{SOURCE}", f"{split}{TARGET}"]


_WRITERS: dict[Form, Callable[[Path, str, Sequence[Pair]], list[str]]] = {
    "jsonl": _rows,
    "json": _json,
    "lines": _lines,
}
