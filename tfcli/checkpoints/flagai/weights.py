"""The stored tensors of a FlagAI folder: safetensors, pickles, and the files of parallel ranks.

A tensor is read when it is used, and what reads pickles runs nothing of them. Rank files become
whole tensors one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.ranks import pieces_of, require_same_names, whole_of
from tfcli.checkpoints.dialect.rules import Cut, Layout
from tfcli.checkpoints.flagai.rules import dialect
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
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.files import inside

_SHARD = re.compile(r"pytorch_model-\d+-of-\d+\.bin")
_RANK = re.compile(r"pytorch_model_(\d{2,})\.bin")


@dataclass(frozen=True)
class Stored:
    """What a folder or file holds.

    Args:
        tensors: whole ones by their stored names.
        beside: what is no tensor: a name, and what it is.
    """

    tensors: dict[str, TensorEntry]
    beside: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, source: TensorSource) -> Stored:
        """All that an opened file or folder holds."""
        return cls({info.name: as_stored(source, info) for info in source.infos()}, source.beside)


def rank_file(rank: int) -> str:
    """The name of the file of a model-parallel rank."""
    return f"pytorch_model_{rank:02d}.bin"


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights of a kind that `open_weights` reads."""
    return folder.is_dir() and any(is_weights(path.name) for path in folder.iterdir())


def is_weights(name: str) -> bool:
    """Whether a file holds weights of a kind that `open_weights` reads, by its name."""
    known = name in (SINGLE, INDEX, PICKLED)
    return known or any(kind.fullmatch(name) for kind in (_SHARD, _RANK))


def open_weights(folder: Path, kind: str, config: Mapping[str, Any]) -> Stored:
    """The tensors of a folder by their stored names.

    Where torch.distributed runs as many processes as there are rank files, each reads its own and
    gets the rest from the others: all of them must call this, and read tensors in one order.

    Args:
        folder: holds `model.safetensors` (or shards), `pytorch_model.bin` (or shards), or one
            `pytorch_model_00.bin` and so on for each rank.
        kind: of the model. config: the content of config.json. They say how ranks divide tensors.

    Raises:
        WorkError: no weights, a broken file, or rank files that do not belong together.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    ranks = _rank_files(folder, names)
    if len(ranks) > 1 and _processes() == len(ranks):
        return _gathered(ranks, kind, config)
    if {SINGLE, INDEX, PICKLED, PICKLED_INDEX}.intersection(names):
        return Stored.of(open_tensors(folder))
    shards = [inside(folder, name) for name in names if _SHARD.fullmatch(name)]
    if shards:  # FlagAI writes no index
        return Stored.of(TensorSource(open_file(path) for path in shards))
    if ranks:
        opened = {path: Stored.of(open_tensors(path)) for path in ranks}
        return _merged(opened, kind, config, folder)
    raise WorkError(
        "no weights are here",
        where=str(folder),
        fix=f"put {SINGLE} or {PICKLED} into it, or the files of all ranks",
    )


def _merged(
    ranks: dict[Path, Stored], kind: str, config: Mapping[str, Any], folder: Path
) -> Stored:
    """Whole tensors of all ranks' files; each is put together when it is read."""
    first = next(iter(ranks.values()))
    require_same_names({path: rank.tensors for path, rank in ranks.items()})
    cuts, whole = _cuts(first.tensors, kind, config), {}
    for name, tensor in first.tensors.items():
        held = [rank.tensors[name] for rank in ranks.values()]
        whole[name] = whole_of(held, cuts[name])
        if cuts[name] is None and len(held) > 1:
            whole[name] = replace(tensor, read=partial(_same, held, folder))
    return Stored(whole, first.beside)


def _same(copies: Sequence[TensorEntry], folder: Path) -> torch.Tensor:
    first, *others = (copy.read() for copy in copies)
    if not all(same_bits(first, other) for other in others):
        raise WorkError(f"the ranks hold different {short(copies[0].name)}", where=str(folder))
    return first


def _gathered(files: list[Path], kind: str, config: Mapping[str, Any]) -> Stored:
    """The same where each process reads the file of its own rank, and sends what others need."""
    dist: Any = torch.distributed
    failed, held = None, Stored({})
    try:
        held = Stored.of(open_tensors(files[dist.get_rank()]))
    except WorkError as error:  # said to all, so that none waits for ever
        failed = (error.what, error.where)
    told: list[Any] = [None] * len(files)
    dist.all_gather_object(told, (list(held.tensors), failed))
    for _, problem in told:
        if problem is not None:
            raise WorkError(problem[0], where=problem[1])
    require_same_names({file: names for file, (names, _) in zip(files, told, strict=True)})
    cuts, whole = _cuts(held.tensors, kind, config), {}
    for name in told[0][0]:  # the first rank's order, whatever this one's is
        own, cut = held.tensors[name], cuts[name]
        whole[name] = own
        if cut is not None:
            read = partial(_of_all_processes, own, cut)
            whole[name] = replace(whole_of([own] * len(files), cut), read=read)
    return Stored(whole, held.beside)


def _of_all_processes(own: TensorEntry, cut: Cut) -> torch.Tensor:
    dist: Any = torch.distributed
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    sent = own.read().to(device).contiguous()
    parts = [torch.empty_like(sent) for _ in range(_processes())]
    dist.all_gather(parts, sent)
    return pieces_of([part.cpu for part in parts], own.shape[cut.dim], cut.dim, cut.blocks)()


def _cuts(
    names: Mapping[str, TensorEntry], kind: str, config: Mapping[str, Any]
) -> dict[str, Cut | None]:
    """How ranks divide each stored tensor; None: each holds all of it."""
    rules = dialect(kind)
    layouts: dict[str, Layout] = rules.layouts(config)
    return {name: layouts.get(rules.spelt(name), (None, None))[0] for name in names}


def _rank_files(folder: Path, names: list[str]) -> list[Path]:
    found = {int(match[1]): name for name in names if (match := _RANK.fullmatch(name))}
    for rank in range(len(found)):
        if rank not in found:
            raise WorkError(
                f"{rank_file(rank)} is missing, of {len(found)} rank files",
                where=str(folder),
            )
    return [inside(folder, found[rank]) for rank in range(len(found))]


def _processes() -> int:
    dist: Any = torch.distributed
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
