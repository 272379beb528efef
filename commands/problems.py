"""Every exception becomes a problem: what is wrong, where, how to fix it, and its code."""

from __future__ import annotations

from tfcli.errors import Problem, UsageError, WorkError

USAGE_CODES = {
    "NoSuchOption": "usage.unknown_option",
    "MissingParameter": "usage.missing_key",
    "BadParameter": "usage.wrong_value",
    "BadOptionUsage": "usage.wrong_value",
}
"""What the parser of the command line raises -> our code."""


def as_problem(error: Exception) -> Problem:
    """The problem that an exception stands for, whatever raised it."""
    if isinstance(error, Problem):
        return error
    if hasattr(error, "format_message"):  # what typer raises for flags it cannot read
        message = error.format_message().rstrip(".").replace("Value error, ", "")
        code = USAGE_CODES.get(type(error).__name__)
        return UsageError(message, fix="see --help", code=code)
    if isinstance(error, OSError) and error.strerror:
        where = str(error.filename or "") or None
        return WorkError(error.strerror.lower(), where=where, code="system.error")
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return WorkError(
            "the system starts no more threads",
            fix="end other programs, or raise the limit on a user's processes (ulimit -u)",
            code="system.error",
        )
    if _is_of_memory(error):
        return WorkError(
            "there is not enough memory",
            fix="free some, take a smaller model or batch, or look at what it needs: tfcli inspect",
            code="memory.full",
        )
    return WorkError(
        f"unexpected {type(error).__name__}: {error}",
        fix="run it again with --debug and report the traceback",
        code="internal.unexpected",
    )


def _is_of_memory(error: Exception) -> bool:
    """Whether an allocation failed; torch says it in words for a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and (
        "allocate memory" in str(error) or "not enough memory" in str(error)
    )
