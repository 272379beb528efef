"""Where an error of the model core happened: the core knows no paths."""

from __future__ import annotations

from pathlib import Path

from tfcli.errors import ModelError


def located(error: ModelError, path: Path) -> ModelError:
    """The same error with the checkpoint's path, which a user with several of them needs."""
    where = f"{path}: {error.where}" if error.where else str(path)
    return type(error)(error.what, where=where, fix=error.fix)
