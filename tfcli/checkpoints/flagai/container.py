"""FlagAI's folders: its own config.json and pytorch_model.bin, or a file for each rank."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container
from tfcli.errors import WorkError


def _looks_like(path: Path) -> bool:
    from tfcli.checkpoints.beside import CONFIG, read_object
    from tfcli.checkpoints.flagai.configs import is_flagai

    try:
        if not (path / CONFIG).is_file() or not is_flagai(read_object(path, CONFIG)):
            return False
    except WorkError:
        return False
    from tfcli.checkpoints.flagai.folders import is_folder  # torch comes with it

    return is_folder(path)


FLAGAI = Container(
    "flagai", "flagai", _looks_like, files=("pytorch_model*.bin*",), config="folder", cut="parts"
)
