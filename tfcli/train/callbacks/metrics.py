"""Writing metrics.jsonl: one line a step, at once, so that a killed run keeps what it measured; and
the same as a table."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TextIO

from tfcli.train.callbacks.callback import Callback
from tfcli.train.log import read_metrics


class MetricsFile(Callback):
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
        temporary.write_text("".join(map(_line, kept)), encoding="utf-8")
        temporary.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """Append one step's figures; figures that are None are left out."""
        if self._file is not None:
            self._file.write(_line({k: v for k, v in figures.items() if v is not None}))
            self._file.flush()

    def checkpoint(self) -> None:
        """Make sure that the lines so far outlive a power cut, as a checkpoint does."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def end(self) -> None:
        """Close the file; one without a line is removed."""
        if self._file is not None:
            self._file.close()
            path = Path(self._file.name)
            if not path.stat().st_size:
                path.unlink()


class MetricsTable(Callback):
    """The lines of metrics.jsonl once more, for spreadsheets, when a run ends.

    Args:
        metrics: the lines.
        table: the .csv file; a figure that a step lacks is left empty.
    """

    def __init__(self, metrics: Path, table: Path) -> None:
        self.metrics, self.table = metrics, table

    def end(self) -> None:
        """Write it."""
        rows = read_metrics(self.metrics)
        with self.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values) + "\n"
