"""A result as files: JSON, CSV, Markdown and plots; and a step's summary on GitHub."""

from __future__ import annotations

import csv
from pathlib import Path

from tfcli.benchmark.markdown import page, summary
from tfcli.benchmark.plots import plots
from tfcli.benchmark.result import BenchmarkResult
from tfcli.errors import WorkError
from tfcli.files import write_json

JSON, CSV, MARKDOWN = "benchmark.json", "benchmark.csv", "benchmark.md"


def write_files(result: BenchmarkResult, folder: Path, *, log: bool) -> None:
    """Write all files of a result into a folder.

    Args:
        log: plots have logarithmic axes.
    """
    write_json(folder / JSON, result.model_dump(mode="json"))
    _write_csv(result, folder / CSV)
    drawn = plots(result, log=log)
    for name, svg in drawn.items():
        (folder / name).write_text(svg, encoding="utf-8")
    (folder / MARKDOWN).write_text(page(result, list(drawn)), encoding="utf-8")


def append_summary(result: BenchmarkResult, file: Path) -> None:
    """Append the result to the summary of a step of GitHub Actions.

    Raises:
        WorkError: the file that the variable names cannot be written.
    """
    try:
        with file.open("a", encoding="utf-8") as out:
            out.write(summary(result) + "\n")
    except OSError as error:
        raise WorkError(
            f"the step's summary cannot be written: {error.strerror}",
            where=str(file),
            fix="unset GITHUB_STEP_SUMMARY where no runner of GitHub set it",
        ) from error


def _write_csv(result: BenchmarkResult, file: Path) -> None:
    """A line a row: its figures, the parts of its memory, and what holds for the whole run."""
    lines = []
    for row in result.rows:
        values = row.model_dump(mode="json", exclude={"rounds", "memory"})
        parts = row.memory.model_dump() if row.memory else {}
        lines.append(values | {f"memory_{name}": value for name, value in parts.items()})
    names = list(dict.fromkeys(name for line in lines for name in line))
    whole = {"threads": result.threads, "device": result.device, "rounds": result.rounds}
    whole |= {f"machine_{name}": value for name, value in result.machine.items()}
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, [*names, *whole], restval="")
        writer.writeheader()
        writer.writerows(line | whole for line in lines)
