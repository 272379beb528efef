"""Which container a checkpoint is, from what it holds and never from a name alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from tfcli.checkpoints.checkpoint import View
from tfcli.checkpoints.hf.source import INDEX, SINGLE
from tfcli.errors import UsageError, WorkError

# kind -> (whether a path is one, the module of its reader). The first that says yes is taken, so
# those with a mark of their own come before those that are known by lacking one, and those that
# names tell before those that files do: Llama 3.2 Vision lies in folders as Meta's others do.
_MODULES = {
    "gguf": "tfcli.checkpoints.gguf.read",
    "original": "tfcli.checkpoints.original.read",
    "meta": "tfcli.checkpoints.meta.read",
    "dcp": "tfcli.checkpoints.dcp.read",
    "zero": "tfcli.checkpoints.zero.read",
    "megatron": "tfcli.checkpoints.megatron.read",
    "flagai": "tfcli.checkpoints.flagai.read",
    "mlx": "tfcli.checkpoints.mlx.read",
    "hf": "tfcli.checkpoints.hf.read",
}
# Containers of weights alone: their readers take the folder of a config.json.
WITHOUT_CONFIG = ("original", "dcp", "zero", "megatron")


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


def kind_of(path: Path) -> str:
    """As `detect`, and for single files of tensors `safetensors` or `torch`.

    Raises:
        UsageError: as `detect`.
    """
    if path.is_file() and not any(LOOKS[kind](path) for kind in ("gguf", "original")):
        from tfcli.checkpoints.torch.file import is_torch_file

        return "torch" if is_torch_file(path) else "safetensors"
    return detect(path)


def open_view(
    path: Path,
    kind: str | None = None,
    config_from: Path | None = None,
    *,
    config_required: bool = True,
    exact: bool = False,
) -> View:
    """The view of a checkpoint.

    Args:
        path: a folder or a file.
        kind: its container; None finds it out.
        config_from: the folder whose config.json and tokenizer belong to the weights, for
            containers that bring none.
        config_required: without it, a missing config is empty where names can be told without it.
        exact: quantized values come out as float32, to be cast; without it in a type of two bytes
            where the container gives them none.

    Raises:
        UsageError: no such kind, or one that brings its own config.
        WorkError: the files are broken.
    """
    kind = detect(path) if kind is None else kind
    reader = import_module(_MODULES[kind])
    takes = getattr(reader, "TAKES", ())
    if config_from is not None and "config_from" not in takes:
        raise UsageError(
            f"{path} brings its own config ({kind})", where="config_from", fix="leave it out"
        )
    given = {
        "config_from": config_from,
        "config_required": config_required,
        "exact": (lambda name: True) if exact else None,
    }
    return reader.open_view(path, **{key: given[key] for key in takes})


def _has_plain_weights(path: Path) -> bool:
    """Some folders hold the same weights twice. Hugging Face's own then count."""
    return any((path / name).exists() for name in (SINGLE, INDEX))


def _is_gguf(path: Path) -> bool:
    from tfcli.checkpoints.gguf.read import gguf_file

    return not (path / "config.json").is_file() and gguf_file(path) is not None


def _is_original(path: Path) -> bool:
    from tfcli.checkpoints.original.read import is_original

    return is_original(path)


def _is_meta(path: Path) -> bool:
    if _has_plain_weights(path):
        return False
    return (path / "params.json").is_file() and any(path.glob("consolidated*"))


def _is_dcp(path: Path) -> bool:
    return (path / ".metadata").is_file()


def _is_flagai(path: Path) -> bool:
    from tfcli.checkpoints.flagai.configs import is_flagai
    from tfcli.checkpoints.folder import CONFIG, read_object

    try:
        if not (path / CONFIG).is_file() or not is_flagai(read_object(path, CONFIG)):
            return False
    except WorkError:
        return False
    from tfcli.checkpoints.flagai.folders import is_folder  # torch comes with it

    return is_folder(path)


def _is_zero(path: Path) -> bool:
    pattern = "*zero_pp_rank_*_optim_states.pt"
    if any(path.glob(pattern)):
        return True
    return not _has_plain_weights(path) and any(path.glob(f"*/{pattern}"))


def _is_megatron(path: Path) -> bool:
    files = "mp_rank_*/model_optim_rng.pt"
    if any(path.glob(files)):
        return True
    return (path / "latest_checkpointed_iteration.txt").is_file() and any(path.glob(f"*/{files}"))


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


LOOKS: dict[str, Callable[[Path], bool]] = {
    "gguf": _is_gguf,
    "original": _is_original,
    "meta": _is_meta,
    "dcp": _is_dcp,
    "zero": _is_zero,
    "megatron": _is_megatron,
    "flagai": _is_flagai,
    "mlx": _is_mlx,
    "hf": _is_hf,
}
