"""Files of the repositories that models first came from, by their dialects.

Google's Gemma (one .ckpt file, or pickled shards with an index) and the language model of Meta's
Llama 3.2 Vision (consolidated.00.pth with params.json). Which dialect a checkpoint speaks, its
names say. Google's files bring no config: a config.json must be beside them or be named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import read_object
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.ranks import join
from tfcli.checkpoints.hf.index import read_index
from tfcli.checkpoints.hf.read import as_stored
from tfcli.checkpoints.hf.source import (
    INDEX,
    PICKLED,
    PICKLED_INDEX,
    SINGLE,
    TensorSource,
    open_file,
    open_tensors,
)
from tfcli.checkpoints.meta.params import PARAMS
from tfcli.checkpoints.meta.tokenizer import write_tokenizer
from tfcli.checkpoints.original.gemma import GEMMA, GEMMA2, GEMMA3_TEXT
from tfcli.checkpoints.original.mllama_text import MLLAMA_TEXT, config_of
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.trainer_folders import find_config, with_stored_dtype
from tfcli.errors import UsageError, WorkError
from tfcli.files import inside

# Those with more marks come first: Gemma 3 has every name that marks Gemma 1.
DIALECTS = (MLLAMA_TEXT, GEMMA3_TEXT, GEMMA2, GEMMA)


def dialect_of(names: Collection[str]) -> Dialect | None:
    """The dialect that stored names belong to, or None."""
    return next((one for one in DIALECTS if all(mark in names for mark in one.marks)), None)


def is_original(path: Path) -> bool:
    """Whether a file or folder holds weights in one of the dialects. Reads headers only."""
    try:
        if any((path / name).exists() for name in (SINGLE, INDEX)):
            return False  # Hugging Face's own count, as for every container
        if not (path / PICKLED).exists() and (path / PICKLED_INDEX).is_file():
            return dialect_of(read_index(inside(path, PICKLED_INDEX))) is not None
        return dialect_of(_open(path)) is not None
    except WorkError:
        return False


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a checkpoint in its repository's own names.

    Raises:
        UsageError: config_from for files that say their sizes themselves.
        WorkError: files of several tensor-parallel parts, no config.json or one of another family,
            or tensors that do not fit its sizes.
    """
    source = _open(path)
    dialect = dialect_of(source)
    if dialect is None:
        raise WorkError(f"no dialect has {short(source.names[0])}", where=str(path))
    config, companions, carry = _config(path, asked.config_from, source, dialect)
    stored = {info.name: as_stored(source, info) for info in source.infos()}
    tensors = join({path: stored}, dialect, config)
    beside = {name: f"{what}, beside the weights" for name, what in source.beside.items()}
    return Checkpoint(
        "original",
        path,
        with_stored_dtype(config, tensors.values()),
        tensors,
        tuple(file.path for file in source.files),
        companions=companions,
        unused=dialect.unused(source) | beside,
        carry=carry,
    )


def _config(
    path: Path, config_from: Path | None, source: TensorSource, dialect: Dialect
) -> tuple[dict[str, Any], Path, Callable[[Path], list[str]] | None]:
    """The config, the folder with the tokenizer, and what makes files that this lacks."""
    if dialect is MLLAMA_TEXT:
        if config_from is not None:
            raise UsageError(
                f"{path} has a {PARAMS}, which says what a config does",
                where="config_from",
                fix="leave it out",
            )
        config = config_of(read_object(path, PARAMS), source, where=str(path / PARAMS))
        return config, path, partial(write_tokenizer, scaled=True)
    config, companions = find_config(path, config_from)
    if config.get("model_type") != dialect.name:
        raise WorkError(
            f"the weights are those of {dialect.name}, the config.json is one of "
            f"{config.get('model_type')!r:.40}",
            where=str(companions),
            fix="name the folder of the model's Hugging Face release with config_from",
        )
    return config, companions, None


def _open(path: Path) -> TensorSource:
    """The weights; of Meta's folders the one file that they may have."""
    if not path.is_dir():
        return TensorSource([open_file(path)])
    if not (path / PARAMS).is_file():
        return open_tensors(path)
    parts = sorted(path.glob("consolidated*"))
    if len(parts) != 1:
        raise WorkError(
            f"{len(parts)} files consolidated*; only models in one part are read",
            where=str(path),
            fix="take the model's Hugging Face folder",
        )
    return TensorSource([open_file(inside(path, parts[0].name))])
