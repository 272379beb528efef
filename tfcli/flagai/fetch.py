"""Getting a model's files into the folder of its name, once."""

from __future__ import annotations

import fcntl
import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcli.errors import Problem, UsageError, WorkError
from tfcli.flagai.tables import MODELS
from tfcli.hub import download, names_of
from tfcli.hub_choice import HubRef, choose, small_files

CONFIG = "config.json"
NOTES = ".cache/huggingface"
"""The folder in which the hub's client notes what it has fetched."""


def local_folder(download_path: str | Path, model_name: str, *, config_only: bool = False) -> Path:
    """The folder `download_path/model_name`, fetched from the hub when it is not filled yet.

    Several processes may call this at once: one fetches, the others wait for it. An interrupted
    fetch goes on where it stopped, and leaves the folder as it was.

    Args:
        download_path: where folders of models lie.
        model_name: of the folder; fetched where the name is known, or is a hub id `org/name`.
        config_only: weights are not needed.

    Raises:
        UsageError: nothing is here, and the name says of no place to fetch it from.
        WorkError: it cannot be fetched; says which folder to fill by hand.
    """
    folder = Path(download_path) / model_name
    if _complete(folder, config_only):
        return folder
    hub = hub_id(model_name)
    if hub is None:
        raise UsageError(
            f"{folder} holds no {CONFIG}" + ("" if config_only else " with weights beside it"),
            where="model_name",
            fix=f"put its files there; {model_name} is not published where it can be fetched from",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_name(f".{folder.name}.lock")):
        if not _complete(folder, config_only):  # another process may have fetched it meanwhile
            _fetch(hub, folder, config_only)
    return folder


def hub_id(model_name: str) -> str | None:
    """Where a model is published; None if that is not known."""
    for known in MODELS:
        if known.name.lower() == model_name.lower():
            return known.hub
    return model_name if model_name.count("/") == 1 else None


def _complete(folder: Path, config_only: bool) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    if config_only:
        return True
    from tfcli.checkpoints.flagai.weights import has_weights

    return has_weights(folder)


def _fetch(hub: str, folder: Path, config_only: bool) -> None:
    staging = folder.with_name(f".{folder.name}.fetching")
    begun = staging.is_dir() and ((staging / NOTES).is_dir() or not any(staging.iterdir()))
    if os.path.lexists(staging) and (staging.is_symlink() or not begun):
        raise UsageError(
            f"{staging} is in the way, and no fetch left it there",
            where="model_name",
            fix="move it elsewhere",
            code="output.not_empty",
        )
    try:
        asked = HubRef(hub)
        names = names_of(asked)
        files = small_files(names) if config_only else choose(names, asked).files
        download(hub, files=files, folder=staging)
    except Problem as error:
        raise WorkError(
            error.what,
            where=str(folder),
            fix=f"{error.fix}; or put {CONFIG}, the weights and the vocabulary into {folder}",
        ) from error
    if not (staging / CONFIG).is_file():
        raise WorkError(f"{hub} has no {CONFIG}", where=str(folder))
    folder.mkdir(exist_ok=True)
    fetched = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    fetched = [name for name in fetched if not name.is_relative_to(Path(NOTES).parts[0])]
    for name in fetched:
        if os.path.lexists(folder / name) and not _equal(folder / name, staging / name):
            raise UsageError(
                f"{folder / name} is there, and is not what {hub} has under this name",
                where="model_name",
                fix=f"move it elsewhere, or put its own {CONFIG} and weights beside it",
                code="output.not_empty",
            )
    # The config comes last: with it, the folder counts as filled.
    for name in sorted(fetched, key=lambda name: name == Path(CONFIG)):
        (folder / name).parent.mkdir(exist_ok=True)
        (staging / name).replace(folder / name)
    shutil.rmtree(staging)


def _equal(one: Path, other: Path) -> bool:
    return one.is_file() and filecmp.cmp(one, other, shallow=False)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is in the block."""
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
