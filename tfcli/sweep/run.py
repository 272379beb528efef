"""Running the points of a sweep, one after the other; steps that points share run once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from tfcli.console import Console
from tfcli.errors import Problem
from tfcli.recipe.execute import execute
from tfcli.recipe.recipe import Recipe, Step
from tfcli.recipe.sweep_section import SweepSection
from tfcli.sweep.figures import figure
from tfcli.sweep.points import Point, shown
from tfcli.sweep.result import SweepError, SweepPoint

NOT_THE_POINTS = ("output.in_use",)
"""Errors that say nothing of a point: they end the sweep."""


@dataclass
class Runner:
    """Runs steps, each folder once.

    Args:
        console: says which step runs.
        as_problem: makes an error to show of any exception.
        force: run those too that are up to date.
        own: the names of the folders that may be replaced, where their options have changed.
        anew: see `execute`.
    """

    console: Console
    as_problem: Callable[[Exception], Problem]
    force: bool
    own: set[str]
    anew: bool
    _ended: dict[str, dict[str, Any] | Problem] = field(default_factory=dict)

    def run(self, point: Point, section: SweepSection) -> SweepPoint:
        """Run a point's steps and read its figures; what goes wrong is in its `error`."""
        results: dict[str, Mapping[str, Any]] = {}
        began = perf_counter()
        step = None
        try:
            for step in point.recipe.steps:
                results[step.name] = self._result(step)
            step = None
            value = figure(section.by, results)
            against = None if section.against is None else figure(section.against, results)
        except Problem as problem:
            if problem.code in NOT_THE_POINTS:
                raise
            where = None if step is None else step.name
            self.console.warn(f"point {point.number} failed: {problem.what}")
            error = SweepError(
                step=where,
                code=problem.code,
                what=problem.what,
                where=problem.where,
                fix=problem.fix,
            )
            found = SweepPoint(**_of(point), status="failed", error=error)
        else:
            found = SweepPoint(**_of(point), status="done", value=value, against=against)
        return found.model_copy(update={"seconds": round(perf_counter() - began, 3)})

    def _result(self, step: Step) -> dict[str, Any]:
        """A step's result; of one that has run for another point already, what came of that."""
        folder = str(step.spec.target())
        if folder not in self._ended:
            self._ended[folder] = self._attempt(step, folder)
        ended = self._ended[folder]
        if isinstance(ended, Problem):
            raise ended
        return ended

    def _attempt(self, step: Step, folder: str) -> dict[str, Any] | Problem:
        self.console.note(f"  {step.name} ({step.spec.verb})")
        try:
            outcome = execute(
                step.spec,
                self.console,
                force=self.force,
                replace=folder in self.own,
                anew=self.anew,
            )
        except Exception as error:  # noqa: BLE001 - one point that fails does not end the others
            return self.as_problem(error)
        if outcome.reused:
            self.console.note(f"  up to date: {folder}")
        return outcome.result.model_dump()


def run_points(
    points: Sequence[Point], section: SweepSection, runner: Runner
) -> Iterator[SweepPoint]:
    """Run the points one after the other; gives each when it has ended."""
    for point in points:
        runner.console.note(f"[{point.number}/{len(points)}] {shown(point.settings)}")
        yield runner.run(point, section)


def to_come(point: Point) -> SweepPoint:
    """A point that has not run."""
    return SweepPoint(**_of(point), status="to come")


def every_step(name: str, root: str, points: Sequence[Point]) -> Recipe:
    """The steps of all points as one recipe, each folder once, named after its folder."""
    steps: dict[str, Step] = {}
    for point in points:
        for step in point.recipe.steps:
            folder = str(step.spec.target())
            steps.setdefault(folder, Step(folder.removeprefix(f"{root}/"), step.spec))
    return Recipe(name, "", root, tuple(steps.values()))


def _of(point: Point) -> dict[str, Any]:
    folders = {step.name: str(step.spec.target()) for step in point.recipe.steps}
    return {"number": point.number, "settings": point.settings, "folders": folders}
