"""The two errors that commands end with, beside the model core's own."""

from __future__ import annotations

from tfcli.models.errors import ModelError, Problem, hint, nearest

__all__ = ["ModelError", "Problem", "UsageError", "WorkError", "hint", "nearest"]


class UsageError(Problem):
    """Wrong usage, flag or recipe: exit code 2, raised before any work starts."""

    exit_code = 2


class WorkError(Problem):
    """The work itself failed: a broken file, a full disk, numbers that are not finite."""
