"""Megatron-LM folders of GPT-2 and Llama: mp_rank_XX/model_optim_rng.pt, one file a part.

The parts of tensor parallelism are put together. Queries, keys and values of a head lie together in
one matrix, in an order that the checkpoint's version tells. Embeddings are filled up with rows to a
size that suits the parts; those beyond the config's vocabulary are left out. A config.json must be
beside the weights or be named: Megatron's own arguments do not say all that it holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.dialect.ranks import join
from tfcli.checkpoints.hf.read import as_stored
from tfcli.checkpoints.hf.source import TensorSource
from tfcli.checkpoints.megatron.rules import FAMILIES, dialect
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.file import TorchFile
from tfcli.checkpoints.trainer_folders import find_config, with_stored_dtype
from tfcli.errors import WorkError
from tfcli.files import inside

NAME = "model_optim_rng.pt"
LATEST = "latest_checkpointed_iteration.txt"
_RANK = re.compile(r"mp_rank_(\d{2,4})")
_MISSING = "get the whole folder again: every part is needed"


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a folder of mp_rank_XX folders, or of the folder with its iterations.

    Raises:
        WorkError: no config.json or one of another family, a part is missing, or tensors that the
            family does not have or that do not fit its sizes.
    """
    config, companions = find_config(path, asked.config_from)
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise WorkError(
            f"model_type is {family!r}; Megatron files of {' and '.join(FAMILIES)} are read",
            where=str(companions / CONFIG),
        )
    files = open_parts(path)
    parts = {}
    for file in files:
        source = TensorSource([file])
        parts[file.path] = {info.name: as_stored(source, info) for info in source.infos()}
    names = dialect(family, _version(config, files[0]), len(files))
    tensors = join(parts, names, config)
    return Checkpoint(
        "megatron",
        path,
        with_stored_dtype(config, tensors.values()),
        tensors,
        tuple(file.path for file in files),
        companions=companions,
        unused=names.unused(files[0].tensors),
    )


def open_parts(path: Path) -> tuple[TorchFile, ...]:
    """The opened files of a folder, in the order of the parts. No config is needed.

    Raises:
        WorkError: a part is missing.
    """
    path = _iteration(path)
    names = sorted(entry.name for entry in path.iterdir() if entry.name.startswith("mp_rank_"))
    odd = [name for name in names if not _RANK.fullmatch(name)]
    if odd:
        raise WorkError(
            f"{odd[0]}: the layers are divided too (pipeline parallelism), which is not read",
            where=str(path),
            fix="merge the pipeline with Megatron's tools/checkpoint first",
        )
    if names != [f"mp_rank_{number:02d}" for number in range(len(names))]:
        raise WorkError(f"{', '.join(names[:4])}: a part is missing", where=str(path), fix=_MISSING)
    return tuple(TorchFile(inside(path, f"{name}/{NAME}")) for name in names)


def _iteration(path: Path) -> Path:
    if any(_RANK.fullmatch(entry.name) for entry in path.iterdir()):
        return path
    if not (path / LATEST).is_file():
        raise WorkError(f"has neither mp_rank_00 nor {LATEST}", where=str(path))
    with inside(path, LATEST).open("rb") as file:
        tag = file.read(64).decode(errors="replace").strip()
    found = inside(path, f"iter_{int(tag):07d}" if tag.isdecimal() and tag.isascii() else tag)
    if not found.is_dir():
        raise WorkError(f"names {short(tag)}, which is not here", where=str(path / LATEST))
    return found


def _version(config: Mapping[str, Any], file: TorchFile) -> float:
    content = file.content
    version = content.get("checkpoint_version", 0) if isinstance(content, dict) else None
    if not isinstance(version, int | float) or not math.isfinite(version):
        raise WorkError("checkpoint_version is no number", where=str(file.path))
    groups, heads = config.get("num_key_value_heads"), config.get("num_attention_heads")
    if groups not in (None, heads) and version < 2:
        raise WorkError(
            f"{heads} heads of {groups} groups are none of version {version}, which has no groups",
            where=str(file.path),
        )
    return float(version)
