"""What lies beside weights: config.json, generation_config.json, and companions."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.strict_json import parse_object
from tfcli.errors import WorkError
from tfcli.files import inside, read_bounded
from tfcli.limits import MAX_SIDE
from tfcli.tokenizers.files import find_companions, lost_modules

if TYPE_CHECKING:
    from tfcli.console import Console

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint folder.

    Raises:
        WorkError: missing, leading outside the folder, or not valid JSON; names the file.
    """
    path = inside(folder, name)
    if not path.exists():
        fix = _where_else(folder) if name == CONFIG else None
        raise WorkError(f"the folder has no {name}", where=str(folder), fix=fix)
    return parse_object(read_bounded(path, MAX_SIDE), where=str(path), numbers="infinite")


def _where_else(folder: Path) -> str:
    """What to name where a folder has no config.json; trainers leave a folder for each save."""
    inner = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if not inner:
        return "name a Hugging Face checkpoint folder"
    some = ", ".join(inner[:3]) + (", ..." if len(inner) > 3 else "")
    return f"name one of the folders in it that have one: {some}"


def load_generation_config(folder: Path) -> dict[str, Any]:
    """The content of generation_config.json; empty when the folder has none.

    Raises:
        WorkError: the file is there and cannot be read.
    """
    return read_object(folder, GENERATION_CONFIG) if (folder / GENERATION_CONFIG).exists() else {}


def copy_companions(source: Path, target: Path) -> list[str]:
    """Copy the tokenizer, chat template, processor and generation files of a checkpoint.

    Returns:
        The names of the files that were there and were copied, such as `1_Pooling/config.json`.

    Raises:
        WorkError: one is a link that leads outside its folder, no file, or far too large.
    """
    names = find_companions(source)
    for name in names:
        place = inside(target, name)
        if not place.exists() or not (source / name).samefile(place):
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, place)
    return names


def warn_of_lost_modules(source: Path, copied: Sequence[str], console: Console) -> None:
    """Say which parts of a sentence-transformers model were not among the files `copied`."""
    lost = lost_modules(source, copied)
    if lost:
        console.warn(
            f"{', '.join(lost)} is not taken along, though modules.json needs its folder: of a "
            "module's weights, only model.safetensors is"
        )
