"""The process that runs checks: `python -m tfcli.doctor.worker module:function ...`.

One JSON line a check goes to stdout as soon as the check ends, so that the parent knows which one
was running when the process died. What checks print themselves goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tfcli.errors import Problem


def main(references: list[str]) -> None:
    """Run the checks in order and report each."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for reference in references:
        print(json.dumps(_answer(reference)), file=answers, flush=True)


def _answer(reference: str) -> dict[str, Any]:
    try:
        return {"value": _function(reference)()}
    except Problem as problem:
        return {"error": problem.what, "fix": problem.fix}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any failure is an answer
        return {"error": _first_line(error), "fix": None}


def _function(reference: str) -> Callable[[], Any]:
    module, _, name = reference.partition(":")
    function: Callable[[], Any] = getattr(import_module(module), name)
    return function


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1:])
