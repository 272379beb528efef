"""Which files outside of what a user names belong to a checkpoint or a tokenizer.

A folder has most of it inside. What lies elsewhere follows the same lists as the readers, so that
what is read also counts where inputs are hashed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfcli.checkpoints.containers import is_adapter
from tfcli.checkpoints.gguf.split import parts_beside
from tfcli.checkpoints.trainer_folders import config_places
from tfcli.hub_choice import SMALL, small_files


def outside_of_model(path: Path) -> Iterator[Path]:
    """The files that opening a checkpoint may read besides `path` or what is in it.

    Args:
        path: a folder or a file. A file takes its config and tokenizer from where it lies, and
            from where it is if it is a link.
    """
    if is_adapter(path):
        from tfcli.adapters.folder import base_files

        yield from base_files(path)
    if path.is_dir():
        homes = config_places(path)[1:]
    else:
        yield from parts_beside(path)
        near = (path.parent, path.resolve().parent)
        homes = [place for home in near for place in config_places(home)]
    for home in dict.fromkeys(homes):
        yield from _beside(home)


def outside_of_tokenizer(path: Path) -> Iterator[Path]:
    """The files that loading a tokenizer may read besides `path` or what is in it."""
    if not path.is_dir():
        yield from _beside(path.parent)


def _beside(home: Path) -> Iterator[Path]:
    """The config of a folder, and what else would go along with weights in it."""
    heads = tuple({pattern.partition("/")[0] for pattern in SMALL if "/" in pattern})
    names = _names(home, "*")
    names += [
        f"{place}/{name}"
        for head in heads
        for place in _names(home, head)
        for name in _names(home / place, "*")
    ]
    yield from (home / name for name in small_files(names) if (home / name).is_file())


def _names(folder: Path, pattern: str) -> list[str]:
    try:
        return sorted(path.name for path in folder.glob(pattern))
    except OSError:  # nothing in a folder that may not be listed is found by its name's pattern
        return []
