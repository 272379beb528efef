"""What is written under FlagAI's names: planned from names and shapes, made a tensor at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tfcli.checkpoints.dialect.pieces import Pieces
from tfcli.checkpoints.dialect.ranks import require_whole_heads, shares_of
from tfcli.checkpoints.flagai.rules import DIALECTS, cut_of
from tfcli.checkpoints.flagai.weights import rank_file
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.source import PICKLED
from tfcli.checkpoints.io.dtypes import dtype_code, stored_shape
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.serialize import write_torch
from tfcli.errors import UsageError, WorkError
from tfcli.models.model import Model
from tfcli.models.saving import stored_place

# FlagAI cuts GPT-2's matrices as they are stored, which are turned when its class loads them.
_CUT = ("glm",)


def model_tensors(core: Model) -> list[PendingTensor]:
    """A model's tensors by Hugging Face's names."""
    pending = []
    for name, tensor in core.state_dict().items():
        place = stored_place(core, name)
        like = place.write(torch.empty_like(tensor, device="meta"))
        code = dtype_code(like.dtype)
        read = partial(place.write, tensor)
        pending.append(PendingTensor(place.name, code, stored_shape(code, tuple(like.shape)), read))
    return pending


def as_flagai(
    tensors: Iterable[PendingTensor], kind: str, task: str, nested: bool
) -> list[PendingTensor]:
    """Tensors by Hugging Face's names -> the same by FlagAI's, as its class of the task has them.

    Values are read here only where two tensors must be equal.

    Args:
        tensors: of a whole model.
        kind: of the model.
        task: whose head it has.
        nested: FlagAI's class holds the body under a name of its own.

    Raises:
        WorkError: parts that are missing or of different types, or two tensors for one place that
            differ.
    """
    dialect, found = DIALECTS[kind], {item.name: item for item in tensors}
    if kind in ("glm", "gpt2"):  # FlagAI's classes take the token table for the head
        _drop_tied(found)
    for tied, origin in dialect.ties.items():
        wanted = not tied.startswith("cls.") or task == "masked-lm"
        if wanted and origin in found:
            found.setdefault(tied, dataclasses.replace(found[origin], name=tied))
    parts: dict[str, dict[int, PendingTensor]] = {}
    counts: dict[str, int] = {}
    for name, item in found.items():
        rows = dialect.flagai_place(name, task, nested)
        held = parts.setdefault(rows.name, {})
        if not _same(held.setdefault(rows.part, item), item):
            raise WorkError(f"{name} and another tensor differ, and FlagAI has one for both")
        counts[rows.name] = rows.of
    out = []
    for name, held in parts.items():
        if len(held) != counts[name]:
            raise WorkError(f"{name} lacks a part", fix="check that the checkpoint is whole")
        out.append(_joined(name, [held[number] for number in sorted(held)]))
    return out


def write_flagai(
    folder: Path, tensors: list[PendingTensor], kind: str, heads: int, ranks: int = 1
) -> list[Path]:
    """Write `pytorch_model.bin`, or a file for each model-parallel rank, as FlagAI loads them.

    Args:
        folder: where the files go.
        tensors: by FlagAI's names.
        kind: of the model.
        heads: of its attention.
        ranks: how many files.

    Returns:
        The files, in order.

    Raises:
        UsageError: ranks for a kind that FlagAI cannot load in parts, or that do not divide a
            size. Nothing is written then.
        WorkError: as `write_torch`.
    """
    files = rank_files(tensors, kind, heads, ranks)
    if ranks == 1:
        write_torch(folder / PICKLED, tensors)
        return [folder / PICKLED]
    for rank, pending in enumerate(files):
        write_torch(folder / rank_file(rank), pending, _in_module)
    return [folder / rank_file(rank) for rank in range(ranks)]


def rank_files(
    tensors: list[PendingTensor], kind: str, heads: int, ranks: int
) -> list[list[PendingTensor]]:
    """What goes into each file. See `write_flagai` for the arguments.

    Raises:
        UsageError: as `write_flagai`.
    """
    if ranks == 1:
        return [tensors]
    if kind not in _CUT:
        raise UsageError(
            f"FlagAI loads no {kind} model from several files",
            where="parts",
            fix=f"leave parts out; {' and '.join(_CUT)} is written in parts",
        )
    require_whole_heads(ranks, heads)
    shares = [shares_of(item, cut_of(kind, item.name), ranks) for item in tensors]
    return [list(rank) for rank in zip(*shares, strict=True)]


def _in_module(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {"module": dict(tensors)}


def _same(one: PendingTensor, other: PendingTensor) -> bool:
    if one is other or one.read is other.read:
        return True
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    first, second = one.read(), other.read()
    return first.dtype == second.dtype and torch.equal(first, second)


def _joined(name: str, items: list[PendingTensor]) -> PendingTensor:
    first = items[0]
    if len(items) == 1:
        return dataclasses.replace(first, name=name)
    if len({(item.dtype, item.shape[1:]) for item in items}) > 1:
        raise WorkError(f"the parts of {short(name)} differ in type or width")
    shape = (sum(item.shape[0] for item in items), *first.shape[1:])
    read = Pieces(tuple(item.read for item in items), tuple(item.shape[0] for item in items))
    return dataclasses.replace(first, name=name, shape=shape, read=read)


def _drop_tied(found: dict[str, PendingTensor]) -> None:
    head = found.pop("lm_head.weight", None)
    ends = ("word_embeddings.weight", "wte.weight")
    table = next((item for name, item in found.items() if name.endswith(ends)), None)
    if head is not None and (table is None or not _same(head, table)):
        raise WorkError(
            "lm_head.weight differs from the token table, which FlagAI takes in its place",
            fix="keep this checkpoint in the Hugging Face layout",
        )
