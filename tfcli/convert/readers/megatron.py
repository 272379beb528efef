"""Megatron-LM folders of GPT-2 and Llama: mp_rank_XX/model_optim_rng.pt, one file a part.

The parts of tensor parallelism are put together. Queries, keys and values of a head lie together in
one matrix, in an order that the checkpoint's version tells. Embeddings are filled up with rows to a
size that suits the parts; those beyond the config's vocabulary are left out. A config.json must be
beside the weights or be named: Megatron's own arguments do not say all that it holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.dtypes import torch_dtype
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch_file import TorchFile
from tfcli.convert.megatron_rules import FAMILIES, FREQUENCIES, VOCABULARY, Rule, split_layer
from tfcli.convert.training import find_config, with_stored_dtype
from tfcli.convert.view import View, ViewTensor
from tfcli.errors import WorkError
from tfcli.files import inside

if TYPE_CHECKING:
    from torch import Tensor

NAME = "model_optim_rng.pt"
LATEST = "latest_checkpointed_iteration.txt"
_RANK = re.compile(r"mp_rank_(\d{2,4})")
_MISSING = "get the whole folder again: every part is needed"


@dataclass(frozen=True)
class _Heads:
    """How the fused matrix is laid out.

    Args:
        count: heads of queries. groups: heads of keys and values. size: values of one.
        version: of the checkpoint: 0 has all queries first, 1 has the three innermost, later ones
            have them head by head.
    """

    count: int
    groups: int
    size: int
    version: float

    def rows(self, part: Tensor, which: int, parts: int) -> Tensor:
        """The rows of queries (0), keys (1) or values (2) in one part, as a view.

        Args:
            part (Tensor): [rows, ...]
        """
        groups, each = self.groups // parts, self.count // self.groups
        if self.version < 1:
            return part.unflatten(0, (3, groups, self.size))[which]
        if self.version < 2:
            return part.unflatten(0, (groups, self.size, 3))[:, :, which]
        fused = part.unflatten(0, (groups, each + 2, self.size))
        return fused[:, :each] if which == 0 else fused[:, each + which - 1]


def open_view(path: Path, config_from: Path | None = None) -> View:
    """The view of a folder of mp_rank_XX folders, or of the folder with its iterations.

    Raises:
        WorkError: no config.json or one of another family, a part is missing, or tensors that the
            family does not have or that do not fit its sizes.
    """
    config, companions = find_config(path, config_from)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise WorkError(
            f"model_type is {family!r}; Megatron files of {' and '.join(FAMILIES)} are read",
            where=str(companions),
        )
    files = _open_parts(_iteration(path))
    heads = _heads(config, files)
    rules, unused, tensors = FAMILIES[family], {}, {}
    for stored in files[0].tensors:
        template, layer = split_layer(stored)
        if template.endswith(FREQUENCIES) or "word_embeddings_for_head" in template:
            unused[stored] = "computed from the config, or a copy of the embedding"
            continue
        if template not in rules:
            raise WorkError(f"{short(stored)} is no tensor of {family}", where=str(files[0].path))
        rule = rules[template]
        vocab = config.get("vocab_size") if template in VOCABULARY else None
        for which, name in enumerate(rule.names):
            tensor = _tensor(files, stored, rule, heads, which, vocab)
            tensors[name.format(layer)] = tensor(name.format(layer))
    config = with_stored_dtype(config, tensors.values())
    paths = tuple(file.path for file in files)
    return View("megatron", path, config, tensors, paths, companions=companions, unused=unused)


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
    files = tuple(TorchFile(inside(path, f"{name}/{NAME}")) for name in names)
    for file in files:
        differing = sorted(file.tensors.keys() ^ files[0].tensors.keys())
        if differing:
            raise WorkError(
                f"{short(differing[0])} is not in every part", where=str(file.path), fix=_MISSING
            )
    return files


def _heads(config: dict[str, Any], files: tuple[TorchFile, ...]) -> _Heads:
    def count(*keys: str) -> int:
        value = next((config[key] for key in keys if config.get(key) is not None), None)
        if type(value) is not int or value < 1:
            raise WorkError(f"{keys[0]}: expected a whole number", where="config.json")
        return value

    size, heads = count("hidden_size", "n_embd"), count("num_attention_heads", "n_head")
    groups = count("num_key_value_heads", "num_attention_heads", "n_head")
    content = files[0].content
    version = content.get("checkpoint_version", 0) if isinstance(content, dict) else None
    if not isinstance(version, int | float):
        raise WorkError("checkpoint_version is no number", where=str(files[0].path))
    if groups % len(files) or heads % groups or (groups != heads and version < 2):
        raise WorkError(
            f"{heads} heads and {groups} groups do not suit {len(files)} parts of version "
            f"{version}",
            where=str(files[0].path.parent.parent),
            fix=_MISSING,
        )
    return _Heads(heads, groups, config.get("head_dim") or size // heads, float(version))


def _tensor(
    files: tuple[TorchFile, ...],
    stored: str,
    rule: Rule,
    heads: _Heads,
    which: int,
    vocab: int | None,
) -> partial[ViewTensor]:
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
        fused = (heads.count + 2 * heads.groups) * heads.size
        if shape[0] * parts != fused:
            raise WorkError(
                f"{short(stored)} has {shape[0]} rows in each of {parts} parts; the config asks "
                f"for {fused} in all",
                where=str(first.file),
                fix=_MISSING,
            )
        rows = (heads.count, heads.groups, heads.groups)
        shape[0] = fused if len(rule.names) == 1 else rows[which] * heads.size
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
    read = partial(_read, files[:parts], stored, rule, heads, which, whole)
    seen = whole[::-1] if rule.turned else whole
    return partial(
        ViewTensor,
        dtype=first.dtype,
        shape=seen,
        sources=(stored,),
        how=", ".join(notes),
        read=read,
    )


def _read(
    files: tuple[TorchFile, ...],
    stored: str,
    rule: Rule,
    heads: _Heads,
    which: int,
    shape: tuple[int, ...],
) -> Tensor:
    import torch

    if len(files) == 1 and rule.cut not in ("qkv", "gate_up") and not rule.turned:
        return files[0].read(stored)[: shape[0]]
    dtype = torch_dtype(files[0].tensors[stored].dtype)
    result = torch.empty(shape[::-1] if rule.turned else shape, dtype=dtype)
    out = result.T if rule.turned else result
    along = 1 if rule.cut == "columns" else 0
    wanted = range(3) if rule.cut == "qkv" and len(rule.names) == 1 else (which,)
    at = 0
    for turn in wanted:
        for file in files:
            piece = _piece(file.read(stored), rule, heads, turn, len(files))
            room = min(piece.shape[along], shape[along] - at)  # less for rows that fill up
            out.narrow(along, at, room).copy_(piece.narrow(along, 0, room))
            at += room
    return result


def _piece(part: Tensor, rule: Rule, heads: _Heads, which: int, parts: int) -> Tensor:
    if rule.cut == "gate_up":
        return part.chunk(2)[which]
    if rule.cut == "qkv":
        rows = heads.rows(part, which, parts)
        return rows.flatten(0, -part.dim())
    return part
