"""Opening a checkpoint of any container for `tfcli inspect`: headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import find_container
from tfcli.checkpoints.hf.container import HF, INDEX
from tfcli.checkpoints.hf.read import with_settings_beside
from tfcli.checkpoints.hf.source import (
    TensorFile,
    TensorSource,
    open_file,
    open_tensors,
)
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.meta.params import PARAMS
from tfcli.checkpoints.ties import surplus
from tfcli.checkpoints.trainer_folders import find_config
from tfcli.errors import UsageError
from tfcli.inspect.count import count_parameters
from tfcli.inspect.spec import Quantization
from tfcli.inspect.stored import Stored, lines_of
from tfcli.inspect.widths import widths_of
from tfcli.recipe.record import read_record

ADAPTER = "adapter_config.json"
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth", "*.ckpt", "*.index.json")
NO_CONFIG = "no config.json lies beside the weights; config_from names a model that has it"


def open_stored(path: Path, config_from: Path | None) -> Stored:
    """Open a checkpoint of any container.

    Args:
        path: a folder or a file.
        config_from: the folder of the config.json for weights that lie without.

    Raises:
        UsageError: no checkpoint, or one that brings its own config although one is named.
        WorkError: a broken file.
    """
    if config_from is None and (path / ADAPTER).is_file() and not (path / CONFIG).is_file():
        from tfcli.inspect.without import of_adapter

        return of_adapter(path)
    container = find_container(path)
    kind = container.name
    if container is HF and config_from is None and _is_config_alone(path):
        from tfcli.inspect.without import of_config

        return of_config(path)
    if container.package == HF.package:
        return _plain(kind, path, config_from)
    if config_from is not None and not container.takes_config:
        raise _own_config(path, kind)
    if kind == "gguf":
        from tfcli.inspect.gguf import open_gguf_file

        return open_gguf_file(path)
    if _needs_config(path, kind) and not find_config(path, config_from, required=False)[0]:
        return _unnamed(kind, path)
    return _of_view(container.read(path, Reading(config_from, config_required=False)))


def _is_config_alone(path: Path) -> bool:
    """Whether a folder has a config.json and nothing like weights."""
    return (path / CONFIG).is_file() and not any(next(path.glob(p), None) for p in _WEIGHTS)


def _needs_config(path: Path, kind: str) -> bool:
    """Whether names and shapes of a container's whole tensors cannot be told without a config."""
    return kind == "megatron" or (kind == "original" and not (path / PARAMS).is_file())


def _plain(kind: str, path: Path, config_from: Path | None) -> Stored:
    """Files of tensors as they are, with a config beside them or without."""
    home = path if path.is_dir() else None
    own = home is not None and ((home / CONFIG).is_symlink() or (home / CONFIG).exists())
    if own and config_from is not None:
        raise _own_config(path, kind)
    if config_from is not None:
        home = config_from
    elif home is not None and not own:
        raise _no_model(home)
    config = None if home is None else read_object(home, CONFIG)
    source = open_tensors(path)
    if config is not None and home is not None:
        config = with_settings_beside(config, home, source)
    quantization = quantization_of(config)
    extra = set() if config is None else surplus(config, source)
    parameters, logical = count_parameters(
        (info for info in source.infos() if info.name not in extra),
        quantization.settings if quantization else None,
    )
    lines, elements = lines_of(source.infos())
    return Stored(
        kind,
        path,
        lines,
        elements,
        tuple(file.path for file in source.files),
        parameters,
        logical,
        config=config,
        problem=None if config is not None else "no config.json belongs to a bare file",
        quantization=quantization,
        companions=home,
        beside=source.beside,
    )


def _of_view(view: Checkpoint) -> Stored:
    """A container that has its own names and layouts."""
    config = view.config or None
    if view.container in ("dcp", "zero"):
        # They know whole tensors; what lies in their files are chunks and flat vectors.
        stored = [TensorInfo(t.sources[0], t.dtype, t.shape, view.path, 0, t.nbytes) for t in view]
    else:
        stored = list(_stored(view))
    lines, elements = lines_of(stored)
    extra = surplus(view.config, view.tensors)
    return Stored(
        view.container,
        view.path,
        lines,
        elements,
        view.files,
        sum(tensor.elements for tensor in view if tensor.name not in extra),
        logical=config is not None,
        config=config,
        problem=NO_CONFIG,
        quantization=_of_mlx(view.path) if view.container == "mlx" else None,
        companions=view.companions,
        beside=view.unused,
    )


def _stored(view: Checkpoint) -> Iterable[TensorInfo]:
    if (view.path / INDEX).is_file():
        return open_tensors(view.path).infos()
    files = (open_file(path) for path in view.files)
    return (info for file in files for info in file.tensors.values())


def _unnamed(kind: str, path: Path) -> Stored:
    """Tensors that nothing says how to name, or how to put together."""
    if kind == "megatron":
        from tfcli.checkpoints.megatron.read import open_parts

        files: tuple[TensorFile, ...] = open_parts(path)
    else:
        files = open_tensors(path).files
    lines, elements = lines_of(info for file in files for info in file.tensors.values())
    return Stored(
        kind,
        path,
        lines,
        elements,
        tuple(file.path for file in files),
        sum(elements.values()),
        logical=False,
        problem=NO_CONFIG,
        beside=TensorSource(files[:1]).beside,
    )


def quantization_of(config: Mapping[str, Any] | None) -> Quantization | None:
    """What a config.json says of quantization."""
    settings = (config or {}).get("quantization_config")
    if not isinstance(settings, dict):
        return None
    method = settings.get("quant_method")
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        method = method or "bitsandbytes"
    bits, group = widths_of(settings)
    return Quantization(
        method=str(method or "unknown"), bits=bits, group_size=group, settings=settings
    )


def _of_mlx(path: Path) -> Quantization:
    settings = read_object(path, CONFIG)["quantization"]
    return Quantization(
        method="mlx",
        bits=settings["bits"] if isinstance(settings["bits"], int) else None,
        group_size=settings["group_size"] if isinstance(settings["group_size"], int) else None,
        settings=settings,
    )


def _own_config(path: Path, kind: str) -> UsageError:
    return UsageError(
        f"{path} brings its own config ({kind})", where="config_from", fix="leave it out"
    )


def _no_model(folder: Path) -> UsageError:
    record = read_record(folder)
    if record is not None:
        return UsageError(
            f"this is what `tfcli {record['command']}` made, not a model",
            where=str(folder),
            fix="see its run.json; inspect takes a checkpoint folder or a file of weights",
        )
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    return UsageError(
        f"the folder has no {CONFIG}",
        where=str(folder),
        fix=f"inspect the file alone: {folder / files[0]}" if files else "name a checkpoint folder",
    )
