"""A benchmark beside an earlier one: rows of equal conditions, and whether they became slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import ValidationError

from tfcli.benchmark.noise import LEVEL, chance_of, rounds_for
from tfcli.benchmark.plan import Planned
from tfcli.benchmark.result import BenchmarkRegression, BenchmarkResult, BenchmarkRow
from tfcli.benchmark.rows import limit_rates
from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError, raise_found
from tfcli.recipe.record import machine
from tfcli.units import plural

SAME_MACHINE = ("system", "processor", "cores", "accelerator")
"""Facts of a machine that decide how fast it is. Its memory's size does not."""


@dataclass(frozen=True)
class Matched:
    """A baseline whose conditions are those of the planned rows.

    Args:
        before: the baseline.
        rows: the place of a planned row of tfcli's -> the baseline's row.
        notes: rows of the baseline that are not measured now.
    """

    before: BenchmarkResult
    rows: dict[int, BenchmarkRow]
    notes: list[str]


def read_baseline(path: Path) -> BenchmarkResult:
    """An earlier result.

    Raises:
        UsageError: the file holds none.
    """
    what = f"{path} is no result of tfcli benchmark"
    fix = "give the benchmark.json of its output, or what it printed with --json"
    if not path.is_file():
        raise UsageError(f"{what}: it is a folder", where="baseline", fix=fix)
    try:
        told = read_json(path)
    except WorkError as error:
        raise UsageError(f"{what}: {error.what}", where="baseline", fix=fix) from error
    schema = told.get("schema") if isinstance(told, dict) else None
    if schema != BenchmarkResult.schema_name:
        said = f"its schema is {schema}" if schema else "it has no schema"
        raise UsageError(f"{what}: {said}", where="baseline", fix=fix)
    try:
        found = BenchmarkResult.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"{what}: {key}: {first['msg']}", where="baseline", fix=fix) from error
    if not _is_whole(found):
        raise UsageError(f"{what}: times or rates of rounds are missing", where="baseline", fix=fix)
    return found


def _is_whole(result: BenchmarkResult) -> bool:
    """Whether every row has times above 0 of every round, and the machine rates around each."""
    limits, rounds = result.limits, result.rounds
    rates = [limits.bytes_per_second, *limits.multiplied.values()]
    return (
        rounds > 0
        and all(len(each) == rounds + 1 and min(each) > 0 for each in rates)
        and all(
            len(row.rounds) == rounds
            and all(times and min(times) > 0 for times in row.rounds)
            and row.dtype in limits.multiplied
            for row in result.rows
        )
    )


def match(
    planned: Sequence[Planned],
    before: BenchmarkResult,
    *,
    threads: int,
    device: str,
    rounds: int,
    other_machine: bool,
) -> Matched:
    """Find the baseline's row for each of tfcli's rows to be.

    Raises:
        UsageError: of another machine, device or number of threads, without a row of the same
            conditions, or with too few rounds to tell a difference; all that is wrong, at once.
    """
    found = _unlike_run(before, threads, device, other_machine)
    rows: dict[int, BenchmarkRow] = {}
    for index, each in enumerate(planned):
        if each.task.side != "tfcli":
            continue
        wanted = each.conditions()
        nearest = min(before.rows, key=lambda row: len(_differences(wanted, row)), default=None)
        unlike = [] if nearest is None else _differences(wanted, nearest)
        if nearest is None or unlike:
            said = "; ".join(unlike) or "it has no rows"
            what = f"the baseline has no such row of {each.subject.ref}, {each.task.case}: {said}"
            found.append(UsageError(what, where="baseline", fix="measure as the baseline did"))
        else:
            rows[index] = nearest
    raise_found(found, where="baseline")
    fewest = min(len(row.rounds) for row in rows.values())
    needed = rounds_for(fewest, len(rows))
    if rounds < needed:
        raise UsageError(
            f"{plural(rounds, 'round')} beside the baseline's {fewest} cannot tell a difference of "
            f"{plural(len(rows), 'row')} from chance",
            where="rounds",
            fix=f"--rounds {needed}, or fewer rows",
        )
    used = {id(row) for row in rows.values()}
    left = sum(row.side == "tfcli" and id(row) not in used for row in before.rows)
    notes = [f"of the baseline {plural(left, 'row')} without a measurement now"] if left else []
    return Matched(before, rows, notes)


def compare(result: BenchmarkResult, matched: Matched, fail_on: float) -> list[BenchmarkRegression]:
    """Each of tfcli's rows beside the baseline's.

    A row has regressed where it is slower by more than `fail_on`, chance does not explain it, and
    both hold as well for times counted in what the machine itself could have done in them. So
    neither a disturbed round nor a machine that became slower is taken for a slower program.
    """
    level = LEVEL / len(matched.rows)
    found = []
    for index, old in matched.rows.items():
        new = result.rows[index]
        before, after = _medians(old), _medians(new)
        change = median(after) / median(before) - 1
        chance = chance_of(before, after)
        to_limit = None
        if new.bound is not None and new.share is not None and old.share is not None:
            was = _in_limits(before, old, matched.before)
            now = _in_limits(after, new, result)
            to_limit = median(now) / median(was) - 1
            chance = max(chance, chance_of(was, now))
        slower = min(change, change if to_limit is None else to_limit) > fail_on
        found.append(
            BenchmarkRegression(
                row=index,
                before=median(before),
                after=median(after),
                change=change,
                change_to_limit=to_limit,
                chance=chance,
                regressed=slower and chance <= level,
            )
        )
    return found


def _medians(row: BenchmarkRow) -> list[float]:
    return [median(times) for times in row.rounds]


def _in_limits(times: Sequence[float], row: BenchmarkRow, result: BenchmarkResult) -> list[float]:
    """Times of rounds as what the machine could have read or multiplied in them."""
    assert row.bound is not None
    rates = limit_rates(result.limits, row.bound, row.dtype)
    return [taken * rate for taken, rate in zip(times, rates, strict=True)]


def _unlike_run(
    before: BenchmarkResult, threads: int, device: str, other_machine: bool
) -> list[UsageError]:
    """What differs of the whole run."""
    here: dict[str, Any] = dict(machine())
    unlike = [
        f"{name} is {here.get(name)}, and {before.machine.get(name)} in the baseline"
        for name in SAME_MACHINE
        if here.get(name) != before.machine.get(name)
    ]
    found = [
        UsageError(
            f"{name}: {now} here, and {was} in the baseline",
            where=name,
            fix="measure as the baseline did",
        )
        for name, now, was in (
            ("threads", threads, before.threads),
            ("device", device, before.device),
        )
        if now != was
    ]
    if unlike and not other_machine:
        found.append(
            UsageError(
                f"the baseline is of another machine: {'; '.join(unlike)}",
                where="baseline",
                fix="measure a baseline here, or --other-machine to compare all the same",
            )
        )
    return found


def _differences(wanted: dict[str, Any], row: BenchmarkRow) -> list[str]:
    return [
        f"{name} is {value}, and {getattr(row, name)} in the nearest one"
        for name, value in wanted.items()
        if getattr(row, name) != value
    ]
