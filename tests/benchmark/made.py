"""Results that nothing measured, for what is made of results; and answers in a process's place."""

from __future__ import annotations

from typing import Any

from tests.report.steps import benchmark_row
from tfcli.benchmark.result import BenchmarkLimits, BenchmarkResult, BenchmarkRow
from tfcli.benchmark.task import Answer, Task
from tfcli.recipe.record import machine


def row(case: str = "decode", times: tuple[float, ...] = (0.1,), **more: Any) -> BenchmarkRow:
    """A row of one measurement a round."""
    middle = sorted(times)[len(times) // 2]
    fields = {"rounds": [[each] for each in times], "model_hash": "h", **more}
    return benchmark_row(fields.pop("model", "m"), case, middle, **fields)


def result(*rows: BenchmarkRow, reading: tuple[float, ...] = (), **more: Any) -> BenchmarkResult:
    """A result of this machine; `reading` has one rate more than there are rounds."""
    count = len(rows[0].rounds) + 1
    limits = BenchmarkLimits(
        loop="torch.sum",
        bytes_per_second=list(reading or [1e10] * count),
        multiplied={"float32": [1e11] * count},
    )
    fields: dict[str, Any] = {
        "repeats": 1,
        "threads": 1,
        "device": "cpu",
        "limits": limits,
        "energy": "not read",
        "machine": dict(machine()),
        "versions": {"tfcli": "0"},
    }
    return BenchmarkResult(rows=list(rows), **{**fields, **more})


class Clock:
    """Stands in for `measure_apart`: every case takes as long as it says.

    Attributes:
        seconds: of every case.
        tasks: what was asked for.
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds, self.tasks = seconds, []

    def __call__(self, task: Task) -> Answer:
        self.tasks.append(task)
        # A little longer each time, so that no two rounds are equal.
        taken = self.seconds * (1 + 0.001 * len(self.tasks))
        return Answer([taken] * task.repeats, peak_bytes=300_000_000, work=1_000_000)
