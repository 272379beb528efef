"""metrics.jsonl: one line a step, written at once, so that a killed run keeps what it measured."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TextIO

from pydantic import TypeAdapter

METRICS = "metrics.jsonl"
_LINE = TypeAdapter(dict[str, int | float])


class MetricsLog:
    """Appends to a metrics file.

    Args:
        path: the file; None writes nothing, for all processes but the first.
        steps: keep the lines of this many steps of an interrupted run, drop later ones.
    """

    def __init__(self, path: Path | None, steps: int = 0) -> None:
        self._file: TextIO | None = None
        if path is None:
            return
        kept = [line for line in read_metrics(path) if line["step"] <= steps]
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text("".join(_line(values) for values in kept), encoding="utf-8")
        temporary.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """Append one step's figures; figures that are None are left out."""
        if self._file is not None:
            self._file.write(_line({k: v for k, v in values.items() if v is not None}))
            self._file.flush()

    def sync(self) -> None:
        """Make sure that the lines so far outlive a power cut, as a checkpoint does."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; one without a line is removed."""
        if self._file is not None:
            self._file.close()
            path = Path(self._file.name)
            if not path.stat().st_size:
                path.unlink()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, up to the first that a kill cut short, or that is none of ours:
    figures by name, `step` among them.
    """
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_bytes().splitlines():
            try:
                values = _LINE.validate_python(json.loads(text), strict=True)
            except (ValueError, RecursionError):
                break
            if type(values.get("step")) is not int:
                break
            lines.append(dict(values))
    return lines


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
