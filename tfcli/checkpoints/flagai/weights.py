"""Reading the weights of a folder of FlagAI: safetensors, pickles, and the files of parallel ranks.

A tensor is read when it is used; what reads pickles runs nothing of them. Rank files become whole
tensors one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.ranks import pieces_of, whole_of
from tfcli.checkpoints.flagai.rules import Dialect, Rows, cut_of
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
from tfcli.checkpoints.io.dtypes import torch_dtype, torch_shape
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.files import inside

_SHARD = re.compile(r"pytorch_model-\d+-of-\d+\.bin")
_RANK = re.compile(r"pytorch_model_(\d{2,})\.bin")


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


def open_weights(folder: Path, kind: str) -> TensorSource | MergedRanks | GatheredRanks:
    """The tensors of a folder by their stored names.

    Where torch.distributed runs as many processes as there are rank files, each reads its own and
    gets the rest from the others: all of them must call this, and ask for tensors in one order.

    Args:
        folder: holds `model.safetensors` (or shards), `pytorch_model.bin` (or shards), or one
            `pytorch_model_00.bin` and so on for each rank.
        kind: of the model; says how ranks divide tensors.

    Raises:
        WorkError: no weights, a broken file, or rank files that do not belong together.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    ranks = _rank_files(folder, names)
    if len(ranks) > 1 and _processes() == len(ranks):
        return GatheredRanks(ranks, kind)
    if {SINGLE, INDEX, PICKLED, PICKLED_INDEX}.intersection(names):
        return open_tensors(folder)
    shards = [inside(folder, name) for name in names if _SHARD.fullmatch(name)]
    if shards:  # FlagAI writes no index
        return TensorSource(open_file(path) for path in shards)
    if ranks:
        opened = [open_tensors(path) for path in ranks]
        return MergedRanks(opened, kind, folder)
    raise WorkError(
        "no weights are here",
        where=str(folder),
        fix=f"put {SINGLE} or {PICKLED} into it, or the files of all ranks",
    )


class MergedRanks(Mapping[str, torch.Tensor]):
    """Whole tensors from the files of all ranks; each is put together when it is asked for."""

    def __init__(self, ranks: list[TensorSource], kind: str, folder: Path) -> None:
        self.ranks, self.kind, self.folder = ranks, kind, folder
        for rank, held in enumerate(ranks):
            _check_names(list(ranks[0]), list(held), rank, folder)
        self.tensors = {
            name: whole_of([as_stored(one, one.info(name)) for one in ranks], cut_of(kind, name))
            for name in ranks[0]
        }

    @property
    def beside(self) -> dict[str, str]:
        """What the first rank's file holds beside weights."""
        return self.ranks[0].beside

    def info(self, name: str) -> TensorEntry:
        """What the whole tensor is; nothing is put together."""
        return self.tensors[name]

    def __getitem__(self, name: str) -> torch.Tensor:
        if cut_of(self.kind, name) is None:
            first, *others = (rank[name] for rank in self.ranks)
            if not all(same_bits(first, other) for other in others):
                raise WorkError(f"the ranks hold different {short(name)}", where=str(self.folder))
        return self.tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.ranks[0])

    def __len__(self) -> int:
        return len(self.ranks[0])

    def __contains__(self, name: object) -> bool:
        return name in self.ranks[0]


class GatheredRanks(Mapping[str, torch.Tensor]):
    """The same where each process reads the file of its own rank, and sends what others need."""

    def __init__(self, files: list[Path], kind: str) -> None:
        self.kind = kind
        dist: Any = torch.distributed
        rank, failed = dist.get_rank(), None
        held: Mapping[str, torch.Tensor] = {}
        try:
            held = open_tensors(files[rank])
        except WorkError as error:  # said to all, so that none waits for ever
            failed = (error.what, error.where)
        told: list[Any] = [None] * len(files)
        dist.all_gather_object(told, (list(held), failed))
        for _, problem in told:
            if problem is not None:
                raise WorkError(problem[0], where=problem[1])
        for other, (names, _) in enumerate(told):
            _check_names(told[0][0], names, other, files[0].parent)
        self.held, self.names = held, told[0][0]
        on_gpu = dist.get_backend() == "nccl"
        self.device = torch.device("cuda" if on_gpu else "cpu")

    def __getitem__(self, name: str) -> torch.Tensor:
        own, cut = self.held[name], cut_of(self.kind, name)
        if cut is None:
            return own
        sent = own.to(self.device).contiguous()
        parts = [torch.empty_like(sent) for _ in range(_processes())]
        torch.distributed.all_gather(parts, sent)
        length = own.shape[cut.dim]
        return pieces_of([part.cpu for part in parts], length, cut.dim, cut.blocks)()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)  # the first rank's order, whatever this one's is

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.held


class HFView(Mapping[str, torch.Tensor]):
    """A folder's tensors under Hugging Face's names, whichever it uses itself.

    Args:
        stored: tensors by their stored names.
        dialect: of the kind of model.
        task: whose head is wanted.
        own: the folder is FlagAI's own, so what FlagAI never reads is left out.

    Attributes:
        skipped: stored name -> why it is left out; also what is no tensor.
    """

    def __init__(
        self, stored: Mapping[str, torch.Tensor], dialect: Dialect, task: str, own: bool
    ) -> None:
        self.stored = stored
        beside = stored.beside if isinstance(stored, TensorSource | MergedRanks) else {}
        self.skipped = {name: f"{what}, beside the weights" for name, what in beside.items()}
        self.places: dict[str, Rows] = {}
        for name in stored:
            why = dialect.stray(name) if own else None
            if why is not None:
                self.skipped[name] = why
                continue
            for spelt, rows in dialect.hf_places(name, task).items():
                if spelt in self.places:
                    raise WorkError(f"{short(spelt)} is stored twice", where=short(name))
                self.places[spelt] = rows
        if task == "masked-lm":
            for one, other in (
                *dialect.copies.items(),
                *((b, a) for a, b in dialect.copies.items()),
            ):
                if one in self.places:
                    self.places.setdefault(other, self.places[one])
        self._last: tuple[str, torch.Tensor] | None = None

    def shape_of(self, name: str) -> torch.Tensor:
        """A tensor on the meta device; its numbers are not read."""
        rows = self.places[name]
        if isinstance(self.stored, TensorSource | MergedRanks):
            return rows.read(_described(self.stored, rows.name))
        return rows.read(torch.empty_like(self.stored[rows.name], device="meta"))

    def __getitem__(self, name: str) -> torch.Tensor:
        rows = self.places[name]
        # Queries, keys and values come one after the other: the whole is put together once.
        last = self._last
        if last is None or last[0] != rows.name:
            self._last = last = (rows.name, self.stored[rows.name])
        return rows.read(last[1])  # of this call's own: several threads may read

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places


def _described(source: TensorSource | MergedRanks, name: str) -> torch.Tensor:
    """A stored tensor on the meta device; nothing is read."""
    info = source.info(name)
    shape = torch_shape(info.dtype, info.shape)
    return torch.empty(shape, dtype=torch_dtype(info.dtype, where=short(name)), device="meta")


def _check_names(first: list[str], names: list[str], rank: int, folder: Path) -> None:
    odd = sorted(set(first) ^ set(names))
    if odd:
        raise WorkError(
            f"ranks 0 and {rank} do not hold the same tensors, for example {short(odd[0])}",
            where=str(folder),
            fix="put the files of one checkpoint into the folder",
        )


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
