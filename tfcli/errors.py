"""The two errors that commands end with, beside the model core's own, and the code of each kind."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.models.errors import ModelError, Problem, hint, nearest

__all__ = [
    "CODES",
    "ModelError",
    "Problem",
    "SeveralProblemsError",
    "UsageError",
    "WorkError",
    "hint",
    "nearest",
    "raise_found",
]

CODES = {
    "usage.unknown_command": "There is no such command.",
    "usage.unknown_option": "The command has no such flag.",
    "usage.too_many_words": "More words are given than the command takes.",
    "usage.unknown_key": "The command has no such key.",
    "usage.missing_key": "A key without a default is not given.",
    "usage.wrong_value": "A value has a wrong type, or is outside of what its key takes.",
    "usage.no_effect": "A key is given that has no effect beside the other keys.",
    "usage.given_twice": "A key is given twice, or under two of its names.",
    "usage.several": "Several things are wrong; `errors` holds each with a code of its own.",
    "usage.refused": "The options do not fit together, the input or the machine.",
    "usage.several_processes": "A launcher has started several processes for a command of one.",
    "recipe.missing": "There is no recipe of this name or path.",
    "recipe.unreadable": "The recipe is not YAML or JSON, is too large or is no mapping of keys.",
    "recipe.wrong_kind": "The recipe is for another command.",
    "recipe.wrong_step": "A step has no name, no command or a key that a step cannot have.",
    "recipe.unknown_reference": "`${name}` names no earlier step.",
    "input.missing": "An input file, folder or model is not there.",
    "input.unreadable": "An input may not be read.",
    "output.not_empty": "The output holds something that tfcli did not make.",
    "output.other_run": "The output was made with other options or from other inputs.",
    "output.other_recipe": "Another recipe file of the same name made the steps there.",
    "output.interrupted": "An interrupted run with other options lies where the output goes.",
    "output.not_named": "The work is done, and something is in the way of its name.",
    "output.in_use": "Another process writes this output.",
    "output.overlaps": "The output is one of its inputs, holds it or lies in it.",
    "output.unwritable": "The output's folder cannot be written to.",
    "disk.full": "The disk is full.",
    "memory.full": "There is not enough memory.",
    "model.refused": "A config, tensor or input that the model core does not take.",
    "system.error": "The operating system reports an error.",
    "work.failed": "The work failed: a damaged file, numbers that are not finite, no access.",
    "interrupted": "Ctrl-C or SIGTERM.",
    "internal.unexpected": "A defect of tfcli; with --debug its traceback is shown.",
}
"""Every code an error can have -> what it stands for. Codes are stable; new ones may be added."""


class UsageError(Problem):
    """Wrong usage, flag or recipe: exit code 2, raised before any work starts."""

    exit_code = 2
    code = "usage.refused"


class WorkError(Problem):
    """The work itself failed: a broken file, a full disk, numbers that are not finite."""


class SeveralProblemsError(UsageError):
    """Several things that are wrong with one command line or recipe, told at once."""

    code = "usage.several"

    def __init__(self, what: str, problems: Sequence[Problem], *, where: str | None = None) -> None:
        self.problems = tuple(problems)
        lines = [
            "  "
            + (f"{problem.where}: " if problem.where else "")
            + problem.what
            + (f" ({problem.fix})" if problem.fix else "")
            for problem in problems
        ]
        super().__init__("\n".join([what, *lines]), where=where)


def raise_found(problems: Sequence[Problem], *, where: str | None = None) -> None:
    """Raise what was found: nothing, the one problem, or all of them together."""
    flat = [
        part
        for problem in problems
        for part in (problem.problems if isinstance(problem, SeveralProblemsError) else [problem])
    ]
    if len(flat) == 1:
        raise flat[0]
    if flat:
        raise SeveralProblemsError(f"{len(flat)} things are wrong", flat, where=where)
