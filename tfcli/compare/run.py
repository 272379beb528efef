"""The work of `tfcli compare`."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.compare.conditions import compare_conditions
from tfcli.compare.paired import Paired, compare_pairs, holm
from tfcli.compare.side import Side, read_side
from tfcli.compare.spec import ComparedMeasure, CompareResult, CompareSpec, Verdict
from tfcli.errors import UsageError, WorkError, hint
from tfcli.recipe.job import Job


def run(spec: CompareSpec, job: Job) -> CompareResult:
    """Compare two evaluations.

    Raises:
        UsageError: folders that are no evaluations, unlike conditions or samples, or a measure that
            is not there.
        WorkError: damaged files, or a difference that `spec.fail_on` does not take.
    """
    a, b = read_side(spec.a, "a"), read_side(spec.b, "b")
    conditions = compare_conditions(a, b, spec.allow)
    names = _measures(spec, a, b)
    # Several measures share the false alarms that are accepted.
    tests = [_test(name, a, b, spec.alpha / len(names)) for name in names]
    chances = holm([test.p for test in tests])
    measures = [
        _compared(name, a, b, test, chance, spec.alpha)
        for name, test, chance in zip(names, tests, chances, strict=True)
    ]
    if spec.fail_on is not None:
        _require(measures, spec.fail_on)
    left = [name for name in a.measures if name in b.measures and name not in _both(a, b)]
    return CompareResult(
        a=spec.a,
        b=spec.b,
        alpha=spec.alpha,
        measures=measures,
        left_out=left,
        conditions=conditions,
    )


def _both(a: Side, b: Side) -> list[str]:
    """The measures that samples of both have scores of."""
    return [name for name in a.samples if name in b.samples]


def _measures(spec: CompareSpec, a: Side, b: Side) -> list[str]:
    there = _both(a, b)
    if not there:
        raise UsageError(
            "no measure is a mean over the samples of both",
            where=f"{a.folder}, {b.folder}",
            fix=f"A has {', '.join(a.samples) or 'none'}, and B {', '.join(b.samples) or 'none'}",
        )
    for name in spec.measures or ():
        if name not in there:
            no_mean = name in a.measures and name in b.measures
            raise UsageError(
                f"{name} is no mean over samples, so there are no pairs to compare"
                if no_mean
                else f"there is no measure {name!r} of both",
                where="measures",
                fix=hint(name, there),
            )
    return list(dict.fromkeys(spec.measures or there))


def _test(name: str, a: Side, b: Side, alpha: float) -> Paired:
    """The paired test of one measure.

    Raises:
        UsageError: the samples are others, count otherwise, or are one unit.
    """
    ours, theirs = a.samples[name], b.samples[name]
    alone = next((at for at in [*ours, *theirs] if not (at in ours and at in theirs)), None)
    if alone is not None:
        raise UsageError(
            f"{name} was measured on other samples: only {'A' if alone in ours else 'B'} has "
            f"{alone[1]} of {alone[0]}",
            where=f"{a.folder}, {b.folder}",
            fix="measure both on the same data, with the same tokenizer where texts are cut",
        )
    for at in ours:
        if a.weight(name, at) != b.weight(name, at):
            raise UsageError(
                f"{name} of sample {at[1]} is over {a.weight(name, at):g} in A and over "
                f"{b.weight(name, at):g} in B, and cannot be compared by samples",
                where=f"{a.folder}, {b.folder}",
                fix="name the others in measures",
            )
    try:
        found = compare_pairs(
            [b.score(name, at) - a.score(name, at) for at in ours],
            [None if each.cluster is None else (each.task, each.cluster) for each in ours.values()],
            alpha,
            [a.weight(name, at) for at in ours],
        )
    except ValueError as error:
        raise UsageError(
            f"{name} has one sample, or one cluster of samples: there is no spread to judge a "
            "difference by",
            where=f"{a.folder}, {b.folder}",
            fix="measure more samples",
        ) from error
    return found


def _compared(
    name: str, a: Side, b: Side, test: Paired, chance: float, alpha: float
) -> ComparedMeasure:
    first, second = (_mean(name, side) for side in (a, b))
    return ComparedMeasure(
        name=name,
        unit=a.measures[name].unit,
        a=first,
        b=second,
        difference=test.difference,
        standard_error=test.standard_error,
        interval=(test.low, test.high),
        p=chance,
        test=test.test,
        samples=test.samples,
        units=test.units,
        smallest_difference=test.smallest,
        samples_needed=test.samples_needed,
        verdict=_verdict(test, chance, alpha, a.measures[name].higher_is_better),
    )


def _mean(name: str, side: Side) -> float:
    weights = [side.weight(name, at) for at in side.samples[name]]
    sums = [side.score(name, at) * w for at, w in zip(side.samples[name], weights, strict=True)]
    return sum(sums) / sum(weights)


def _verdict(test: Paired, chance: float, alpha: float, higher: bool | None) -> Verdict:
    if test.difference == 0 and test.standard_error == 0:
        return "same"
    if test.smallest is None:
        return "too few"
    if chance > alpha:
        return "not shown"
    if higher is None:
        return "different"
    return "better" if (test.difference > 0) == higher else "worse"


def _require(measures: Sequence[ComparedMeasure], fail_on: str) -> None:
    """Raise a WorkError that names the first measure with a verdict that is not taken."""
    refused = ("worse",) if fail_on == "worse" else ("worse", "better", "different")
    for each in measures:
        if each.verdict in refused:
            raise WorkError(
                f"{each.name} of B is {each.verdict}: {each.b:.4g} against {each.a:.4g}, "
                f"p {each.p:.2g}",
                where="fail_on",
                fix="leave fail_on out to see every measure",
            )
