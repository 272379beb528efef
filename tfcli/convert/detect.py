"""Which container a checkpoint is, from what it holds and never from a name alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from tfcli.convert.view import View
from tfcli.errors import UsageError, WorkError

# kind -> (whether a path is one, the module of its reader). The first that says yes is taken, so
# those with a mark of their own come before those that are known by lacking one.
_MODULES = {
    "meta": "tfcli.convert.readers.meta",
    "mlx": "tfcli.convert.readers.mlx",
    "hf": "tfcli.convert.readers.hf",
}


def detect(path: Path) -> str:
    """The kind of a checkpoint.

    Raises:
        UsageError: there is none of a kind that is read.
    """
    for kind, looks_like in LOOKS.items():
        if looks_like(path):
            return kind
    raise UsageError(
        f"{path} is no checkpoint that is read",
        where="source",
        fix=f"kinds: {', '.join(LOOKS)}",
    )


def open_view(path: Path, kind: str | None = None) -> View:
    """The view of a checkpoint.

    Args:
        path: a folder or a file.
        kind: its container; None finds it out.

    Raises:
        UsageError: no such kind.
        WorkError: the files are broken.
    """
    kind = detect(path) if kind is None else kind
    return import_module(_MODULES[kind]).open_view(path)


def _is_meta(path: Path) -> bool:
    return (path / "params.json").is_file() and any(path.glob("consolidated*"))


def _is_mlx(path: Path) -> bool:
    from tfcli.checkpoints.folder import CONFIG, read_object

    try:
        config = read_object(path, CONFIG) if (path / CONFIG).is_file() else {}
    except WorkError:
        return False
    quantization = config.get("quantization")  # transformers calls its own quantization_config
    return isinstance(quantization, dict) and {"bits", "group_size"} <= quantization.keys()


def _is_hf(path: Path) -> bool:
    return path.is_dir()


LOOKS: dict[str, Callable[[Path], bool]] = {"meta": _is_meta, "mlx": _is_mlx, "hf": _is_hf}
