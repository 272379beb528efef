"""Megatron-LM folders of GPT-2 and Llama: mp_rank_XX/model_optim_rng.pt, one file a part.

The parts of tensor parallelism are put together. Queries, keys and values of a head lie together in
one matrix, in an order that the checkpoint's version tells. Embeddings are filled up with rows to a
size that suits the parts; those beyond the config's vocabulary are left out. A config.json must be
beside the weights or be named: Megatron's own arguments do not say all that it holds.
"""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.folder import CONFIG
from tfcli.checkpoints.io.dtypes import torch_dtype
from tfcli.checkpoints.megatron.layout import Heads, Layout, join
from tfcli.checkpoints.megatron.rules import FAMILIES, UNUSED, VOCABULARY, split_layer
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.file import TorchFile
from tfcli.checkpoints.trainer_folders import find_config, with_stored_dtype
from tfcli.errors import WorkError
from tfcli.files import inside
from tfcli.models.config import LIMIT

if TYPE_CHECKING:
    from torch import Tensor


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
    heads = _heads(config, files, str(companions / CONFIG))
    rules, unused, tensors = FAMILIES[family], {}, {}
    for stored in files[0].tensors:
        template, layer = split_layer(stored)
        reason = next((why for end, why in UNUSED.items() if template.endswith(end)), None)
        if reason is not None:
            unused[stored] = reason
            continue
        if template not in rules:
            raise WorkError(f"{short(stored)} is no tensor of {family}", where=str(files[0].path))
        layout = Layout(rules[template], heads, len(files))
        vocab = config.get("vocab_size") if template in VOCABULARY else None
        for which, name in enumerate(layout.rule.names):
            spelt = name.format(layer)
            tensors[spelt] = _tensor(spelt, files, stored, layout, which, vocab)
    config = with_stored_dtype(config, tensors.values())
    paths = tuple(file.path for file in files)
    return Checkpoint(
        "megatron", path, config, tensors, paths, companions=companions, unused=unused
    )


def open_parts(path: Path) -> tuple[TorchFile, ...]:
    """The opened files of a folder, in the order of the parts. No config is needed.

    Raises:
        WorkError: a part is missing, or has other tensors than the first.
    """
    return _open_parts(_iteration(path))


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


def _open_parts(path: Path) -> tuple[TorchFile, ...]:
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
    files = tuple(TorchFile(inside(path, f"{name}/{NAME}"), writable=False) for name in names)
    for file in files:
        differing = sorted(file.tensors.keys() ^ files[0].tensors.keys())
        if differing:
            raise WorkError(
                f"{short(differing[0])} is not in every part", where=str(file.path), fix=_MISSING
            )
    return files


def _heads(config: dict[str, Any], files: tuple[TorchFile, ...], where: str) -> Heads:
    def count(*keys: str) -> int:
        value = next((config[key] for key in keys if config.get(key) is not None), None)
        if type(value) is not int or not 1 <= value <= LIMIT:
            raise WorkError(f"{keys[0]}: expected a whole number", where=where)
        return value

    size, heads = count("hidden_size", "n_embd"), count("num_attention_heads", "n_head")
    groups = count("num_key_value_heads", "num_attention_heads", "n_head")
    content = files[0].content
    version = content.get("checkpoint_version", 0) if isinstance(content, dict) else None
    if not isinstance(version, int | float) or not math.isfinite(version):
        raise WorkError("checkpoint_version is no number", where=str(files[0].path))
    if groups % len(files) or heads % groups or (groups != heads and version < 2):
        raise WorkError(
            f"{heads} heads and {groups} groups do not suit {len(files)} parts of version "
            f"{version}",
            where=str(files[0].path.parent.parent),
            fix=_MISSING,
        )
    head_dim = size // heads if config.get("head_dim") is None else count("head_dim")
    return Heads(heads, groups, head_dim, float(version))


def _tensor(
    name: str,
    files: tuple[TorchFile, ...],
    stored: str,
    layout: Layout,
    which: int,
    vocab: int | None,
) -> TensorEntry:
    rule, heads = layout.rule, layout.heads
    infos = [file.tensors[stored] for file in files]
    first = infos[0]
    if len({(info.dtype, info.shape) for info in infos}) > 1 or not first.shape:
        raise WorkError(f"{short(stored)} differs between the parts", where=str(first.file))
    parts = 1 if rule.cut == "copy" else len(files)
    shape = list(first.shape)
    if rule.cut == "columns" and len(shape) > 1:
        shape[1] *= parts
    elif rule.cut in ("rows", "gate_up"):
        shape[0] = shape[0] * parts // (2 if rule.cut == "gate_up" else 1)
    elif rule.cut == "qkv":
        fused = sum(heads.row_counts)
        if shape[0] * parts != fused:
            raise WorkError(
                f"{short(stored)} has {shape[0]} rows in each of {parts} parts; the config asks "
                f"for {fused} in all",
                where=str(first.file),
                fix=_MISSING,
            )
        shape[0] = fused if len(rule.names) == 1 else heads.row_counts[which]
    if vocab is not None and type(vocab) is int:
        if not 0 < vocab <= shape[0]:
            raise WorkError(
                f"{short(stored)} has {shape[0]} rows; the config asks for {vocab}",
                where=str(first.file),
                fix=_MISSING,
            )
        shape[0] = vocab
    notes = [f"{len(files)} parts joined"] if parts > 1 else []
    notes += ["fused rows taken apart"] if rule.cut in ("qkv", "gate_up") else []
    notes += ["transposed"] if rule.turned else []
    whole = tuple(shape)
    read = partial(_read, files[:parts], stored, layout, which, whole)
    seen = whole[::-1] if rule.turned else whole
    return TensorEntry(name, first.dtype, seen, (stored,), ", ".join(notes), read)


def _read(
    files: tuple[TorchFile, ...], stored: str, layout: Layout, which: int, shape: tuple[int, ...]
) -> Tensor:
    rule = layout.rule
    if len(files) == 1 and rule.cut not in ("qkv", "gate_up") and not rule.turned:
        return files[0].read(stored)[: shape[0]]
    dtype = torch_dtype(files[0].tensors[stored].dtype)
    return join(layout, lambda rank: files[rank].read(stored), which, shape, dtype)
