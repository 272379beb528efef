"""An adapter's folder as a model: its base, opened, with the files that the adapter brought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tfcli.checkpoints.beside import copy_companions, read_object
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import ADAPTER_CONFIG, is_adapter, open_checkpoint
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.hub import local_path, resolve
from tfcli.hub_choice import parse_ref

_KEYS = ("base_model_name_or_path", "model")
"""What PEFT and MLX call the base."""


def base_of(folder: Path) -> str | Path:
    """What an adapter was trained on: a path, or a hub id.

    A path that does not lead anywhere from here is tried from the adapter's folder.

    Raises:
        UsageError: the adapter names none, or one that is not here and no hub id.
        WorkError: adapter_config.json cannot be read.
    """
    config, where = read_object(folder, ADAPTER_CONFIG), str(folder / ADAPTER_CONFIG)
    named = next((config[key] for key in _KEYS if config.get(key)), None)
    if not isinstance(named, str):
        raise UsageError(
            "the adapter does not name the model that it was trained on",
            where=where,
            fix=f"put its path or hub id there, as {_KEYS[0]}",
        )
    found = local_path(named) or local_path(folder / named)
    if found is not None:
        return found
    if parse_ref(named) is None:
        raise UsageError(
            f"the adapter's base {named} is not here",
            where=where,
            fix=f"put its path, from here or from the adapter's folder, or its hub id there, as "
            f"{_KEYS[0]}",
        )
    return named


def open_with_base(folder: Path) -> Checkpoint:
    """Open the base of an adapter; `load_model` then puts the adapter on it.

    The tokenizer and the other files are the adapter's where it has its own, else the base's.

    Raises:
        UsageError: as `base_of`, or the base is an adapter itself.
        WorkError: broken files.
    """
    from tfcli.merge.beside import beside_merged

    path = resolve(base_of(folder))
    if is_adapter(path):
        raise UsageError(
            f"its base {path} is an adapter too",
            where=str(folder / ADAPTER_CONFIG),
            fix="work that one into its base first: tfcli merge BASE ADAPTER OUTPUT",
        )
    base = open_checkpoint(path)
    beside = beside_merged(base, folder, None, Console.silent())
    said = f"the adapter {folder.name} runs on its base {path.name}"
    opened = replace(base, adapter=folder, notes=(*base.notes, said))
    if beside.home is None:
        return opened

    def carry(target: Path) -> list[str]:
        assert beside.home is not None and beside.checkpoint.companions is not None
        return copy_companions(beside.checkpoint.companions, target)

    return replace(opened, companions=None, carry=carry)


def base_files(folder: Path) -> Iterator[Path]:
    """The files of an adapter's base, where it lies on this machine and not in the hub's cache."""
    from tfcli.checkpoints.reads import outside_of_model

    try:
        base = base_of(folder)
    except UsageError:
        return  # who runs the adapter says so
    if not isinstance(base, Path):
        return
    if base.is_dir():
        yield from (path for path in sorted(base.rglob("*")) if path.is_file())
    else:
        yield base
    yield from outside_of_model(base)
