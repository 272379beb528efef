"""From what the processes measured to rows: medians, spread, rates and shares."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median, quantiles

from tfcli.benchmark.plan import Planned
from tfcli.benchmark.result import BenchmarkLimits, BenchmarkMemory, BenchmarkRow, Bound
from tfcli.benchmark.task import Answer, Task

BOUND: dict[str, Bound] = {
    "decode": "memory",
    "prefill": "arithmetic",
    "first-token": "arithmetic",
    "train": "arithmetic",
}
"""What a case is compared with."""


def rows_of(
    planned: Sequence[Planned],
    answers: Sequence[Sequence[Answer]],
    limits: BenchmarkLimits,
    *,
    own_gguf: bool,
) -> list[BenchmarkRow]:
    """A row for each task.

    Args:
        answers: of each task, one a round.
        own_gguf: llama.cpp ran a file of the user's, whose weights may be others than the model's.
    """
    # What must be read and multiplied is the model's, whoever runs it.
    works = {
        _key(each): given[0].work
        for each, given in zip(planned, answers, strict=True)
        if each.task.side == "tfcli"
    }
    return [
        _row(each, given, limits, 0 if _has_other_weights(each, own_gguf) else works[_key(each)])
        for each, given in zip(planned, answers, strict=True)
    ]


def limit_rates(limits: BenchmarkLimits, bound: Bound, dtype: str) -> list[float]:
    """The machine's rate in each round: the mean of what was measured before it and after."""
    rates = limits.bytes_per_second if bound == "memory" else limits.multiplied[dtype]
    return [(one + other) / 2 for one, other in pairwise(rates)]


def tokens_of(task: Task) -> int | None:
    """Tokens that one measured time stands for; None where it is a time and no rate."""
    if task.case == "decode":
        return task.batch_size
    return task.batch_size * task.length if task.case in ("prefill", "train") else None


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent do not exceed, between two of them by their distance."""
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _row(
    planned: Planned, answers: Sequence[Answer], limits: BenchmarkLimits, work: int
) -> BenchmarkRow:
    subject, task = planned.subject, planned.task
    rounds = [answer.seconds for answer in answers]
    medians = [median(each) for each in rounds]
    every = [value for each in rounds for value in each]
    tokens, bound, first = tokens_of(task), BOUND.get(task.case), answers[0]
    share = None
    if bound is not None and work:
        rates = limit_rates(limits, bound, subject.dtype)
        share = median(work / taken / rate for taken, rate in zip(medians, rates, strict=True))
    joules = [each.joules for each in answers if each.joules is not None]
    # A first token's energy is that of the tokens before it.
    read = tokens or task.batch_size * task.length
    return BenchmarkRow(
        model=subject.ref,
        unpacked=first.unpacked,
        weight_bytes=subject.weight_bytes,
        seconds=median(medians),
        seconds_low=min(medians),
        seconds_high=max(medians),
        seconds_p50=percentile(every, 50),
        seconds_p90=percentile(every, 90),
        seconds_p99=percentile(every, 99),
        tokens_per_second=None if tokens is None else tokens / median(medians),
        bound=bound,
        work=work or None,
        share=share,
        peak_memory_bytes=max(each.peak_bytes for each in answers),
        private_memory_bytes=max(
            (each.private_bytes for each in answers if each.private_bytes is not None),
            default=None,
        ),
        device_memory_bytes=max(
            (each.device_bytes for each in answers if each.device_bytes is not None), default=None
        ),
        memory=BenchmarkMemory(**first.memory) if first.memory else None,
        joules_per_token=median(joules) / read if joules else None,
        rounds=rounds,
        **planned.conditions(),
    )


def _has_other_weights(planned: Planned, own_gguf: bool) -> bool:
    """Whether a GGUF file's weights may be of another width: one of the user's, and one that was
    made of packed weights, which are unpacked for it."""
    return planned.task.side == "llama.cpp" and (own_gguf or planned.subject.quantized)


def _key(planned: Planned) -> tuple[object, ...]:
    task = planned.task
    return planned.subject.ref, task.case, task.batch_size, task.length, task.cache
