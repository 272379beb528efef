"""The work of `tfcli benchmark`: rounds, and in each a process for every case."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tfcli.benchmark import limits
from tfcli.benchmark.apart import measure_apart
from tfcli.benchmark.compare import Matched, compare, match, read_baseline
from tfcli.benchmark.energy import Meter, find_meter
from tfcli.benchmark.plan import (
    Planned,
    Subject,
    check_peers,
    check_room,
    lengths,
    plan,
    subject,
)
from tfcli.benchmark.result import BenchmarkLimits, BenchmarkResult
from tfcli.benchmark.rows import rows_of
from tfcli.benchmark.spec import BenchmarkSpec, percent
from tfcli.benchmark.task import Answer
from tfcli.benchmark.write import append_summary, write_files
from tfcli.convert.run import run as convert
from tfcli.convert.spec import ConvertSpec
from tfcli.devices import pick_device
from tfcli.hub import resolve
from tfcli.recipe.job import Job
from tfcli.recipe.record import machine, versions

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable in which GitHub Actions names the file that a step's summary is appended to."""


def run(spec: BenchmarkSpec, job: Job) -> BenchmarkResult:
    """Measure every case of every model in processes of their own.

    Raises:
        UsageError: more tokens than a model has positions, batches that cannot fit, what is not
            installed, or a baseline of other conditions; before anything is measured.
        WorkError: a model cannot be loaded or run.
    """
    threads = spec.threads or torch.get_num_threads()
    device = str(pick_device(spec.device))
    subjects = [subject(ref, spec, device) for ref in spec.models]
    texts = lengths(spec, subjects)
    check_room(spec, subjects, texts, device)
    notes = check_peers(spec, subjects)
    planned = plan(spec, subjects, texts, threads=threads, device=device)
    matched = _matched(spec, planned, threads, device)
    with _places(spec, subjects, job) as places:
        planned = [each.placed(places) for each in planned]
        answers, found = _measure(spec, planned, threads, device, job)
    meter = find_meter(device)
    result = BenchmarkResult(
        rows=rows_of(planned, answers, found, own_gguf=spec.gguf is not None),
        repeats=spec.repeats,
        threads=threads,
        device=device,
        limits=found,
        energy=meter.name if isinstance(meter, Meter) else meter,
        machine={name: value for name, value in machine().items() if value is not None},
        versions=versions(),
        notes=notes,
        baseline=spec.baseline,
        fail_on=None if spec.baseline is None else percent(spec.fail_on),
    )
    if matched is not None:
        compared = compare(result, matched, percent(spec.fail_on))
        result = result.model_copy(update={"compared": compared, "notes": notes + matched.notes})
    if job.folder is not None:
        write_files(result, job.folder, log=spec.log_axes)
    summary = os.environ.get(SUMMARY)
    if summary:
        append_summary(result, Path(summary))
    return result


def _matched(
    spec: BenchmarkSpec, planned: Sequence[Planned], threads: int, device: str
) -> Matched | None:
    if spec.baseline is None:
        return None
    before = read_baseline(Path(spec.baseline))
    return match(
        planned,
        before,
        threads=threads,
        device=device,
        rounds=spec.rounds,
        other_machine=spec.other_machine,
    )


def _measure(
    spec: BenchmarkSpec, planned: Sequence[Planned], threads: int, device: str, job: Job
) -> tuple[list[list[Answer]], BenchmarkLimits]:
    """The answers of each task, one a round, and the machine's limits around the rounds."""
    reading = limits.reader(device, threads)
    dtypes = list(dict.fromkeys(each.subject.dtype for each in planned))
    read: list[float] = []
    multiplied: dict[str, list[float]] = {name: [] for name in dtypes}

    def look() -> None:
        read.append(limits.read_rate(reading))
        for name, rates in multiplied.items():
            rates.append(limits.product_rate(device, getattr(torch, name), threads))

    answers: list[list[Answer]] = [[] for _ in planned]
    with job.console.progress("benchmark", spec.rounds * len(planned), "process") as bar:
        look()
        for number in range(spec.rounds):
            for index in _turned(len(planned), number):
                task = planned[index].task
                bar.show(model=Path(task.model).name, case=f"{task.side} {task.case}")
                answers[index].append(measure_apart(task))
                bar.advance()
            look()
    found = BenchmarkLimits(loop=reading.loop, bytes_per_second=read, multiplied=multiplied)
    return answers, found


def _turned(count: int, by: int) -> Iterator[int]:
    """All places, each round beginning with another one: none always comes after the same."""
    yield from ((index + by) % count for index in range(count))


@contextmanager
def _places(
    spec: BenchmarkSpec, subjects: Sequence[Subject], job: Job
) -> Iterator[dict[tuple[str, str], str]]:
    """What others than tfcli load, by side and model; GGUF files are made, and deleted after it.

    Raises:
        UsageError: llama.cpp has no such model.
    """
    places = {("transformers", each.ref): str(resolve(each.ref)) for each in subjects}
    if spec.gguf is not None:
        yield places | {("llama.cpp", subjects[0].ref): spec.gguf}
        return
    with tempfile.TemporaryDirectory(prefix="tfcli-") as home:
        if "llama.cpp" in spec.vs:
            for number, each in enumerate(subjects):
                job.console.note(f"{each.ref}: making a GGUF file for llama.cpp")
                folder = Path(home) / str(number)
                folder.mkdir()
                asked = ConvertSpec.model_validate(
                    {"source": each.ref, "output": str(folder), "to": "gguf", "dtype": each.dtype}
                )
                convert(asked, Job(folder=folder))
                (file,) = folder.glob("*.gguf")
                places["llama.cpp", each.ref] = str(file)
        yield places
