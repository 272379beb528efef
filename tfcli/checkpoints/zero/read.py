"""DeepSpeed ZeRO folders, stages 1 to 3: the fp32 master weights out of the flat partitions.

    latest                                             the name of the step's folder
    global_stepN/mp_rank_00_model_states.pt            stages 1, 2: shapes, buffers, frozen weights
    global_stepN/zero_pp_rank_R_mp_rank_00_model_states.pt     stage 3: the same, one a process
    global_stepN/[bf16_]zero_pp_rank_R_mp_rank_00_optim_states.pt      the partitions, one a process

In stages 1 and 2 the weights of each parameter group stand one after the other in a flat vector
that is cut into as many pieces as there are processes. In stage 3 every weight by itself is cut
into equal pieces, the last one filled up, and each process has its pieces one after the other.
Nothing is put together before a tensor is asked for.

Source: https://github.com/deepspeedai/DeepSpeed (`deepspeed/utils/zero_to_fp32.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.dialect.pieces import narrow
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.file import TorchFile
from tfcli.checkpoints.torch.pickle.values import StoredTensor
from tfcli.checkpoints.trainer_folders import find_config, unwrap, with_stored_dtype
from tfcli.checkpoints.zero.folder import (
    MISSING,
    ZeroFolder,
    entry,
    open_step,
    read_shapes,
    step_folder,
)
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Piece:
    """Values that stand together in a flat vector of one file."""

    file: TorchFile
    flat: StoredTensor
    start: int
    count: int

    def read(self) -> Tensor:
        """The values; no others of the vector are read."""
        return narrow(self.file.reads(self.flat), 0, self.start, self.count)


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a ZeRO folder, or of the folder of one of its steps.

    Args:
        path: with the file `latest`, or with the files themselves.
        asked: where the config is.

    Raises:
        WorkError: no config.json, files of some processes are missing, or partitions that do not
            hold what the shapes ask for.
    """
    config, companions = find_config(path, asked.config_from, required=asked.config_required)
    folder = open_step(step_folder(path))
    trained = {**_frozen(folder), **_trained(folder)}
    found = {**_stored(folder), **trained, **_shared(folder, trained)}
    if not trained:
        raise WorkError("holds no weights", where=str(folder.path))
    names = unwrap(found, config)
    tensors = {
        names[name]: TensorEntry(names[name], dtype, shape, (name,), how, read)
        for name, (dtype, shape, how, read) in found.items()
    }
    files = tuple(file.path for file in (*folder.optim, *folder.model))
    config = with_stored_dtype(config, tensors.values())
    unused = {
        "optimizer_state_dict": "state of the training, but for the fp32 weights",
        "module": "weights in the type of the training, where there are fp32 ones",
    }
    return Checkpoint("zero", path, config, tensors, files, companions=companions, unused=unused)


_Found = tuple[str, tuple[int, ...], str, Callable[[], "Tensor"]]


def _trained(folder: ZeroFolder) -> dict[str, _Found]:
    value = folder.state("param_shapes")
    listed = value if isinstance(value, list) else [value]
    shapes = [read_shapes(folder, "param_shapes", group) for group in listed]
    if folder.stage == 3:
        return _cut_each(folder, {n: s for group in shapes for n, s in group.items()})
    if len(shapes) != len(folder.groups[0]):
        raise WorkError(
            f"param_shapes has {len(shapes)} groups, the partitions have {len(folder.groups[0])}",
            where=str(folder.path),
        )
    found = {}
    for number, group in enumerate(shapes):
        found.update(_cut_whole(folder, number, group))
    return found


def _cut_whole(
    folder: ZeroFolder, number: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, _Found]:
    """Stages 1 and 2: one parameter group, whose vector is cut wherever it may be."""
    world = len(folder.optim)
    state = folder.optim[0].content["optimizer_state_dict"]
    flats = [
        (file, of_rank[number]) for file, of_rank in zip(folder.optim, folder.groups, strict=True)
    ]
    available = sum(flat.elements for _, flat in flats)
    gaps = _gaps(folder, state.get("param_alignment_paddings"), number, len(shapes))
    found, at = {}, 0
    for (name, shape), gap in zip(shapes.items(), gaps, strict=True):
        count = math.prod(shape)
        pieces = _slice(flats, at, count) if at + count <= available else None
        if pieces is None:
            raise _does_not_fit(folder, name, at + count, available)
        found[name] = _gathered(shape, pieces)
        at += count + gap
    # The end of the vector is filled up to a multiple of twice the processes.
    align = 2 * world
    if -(-at // align) != -(-available // align):
        raise _does_not_fit(folder, "the last weight", at, available)
    return found


def _gaps(folder: ZeroFolder, value: Any, number: int, count: int) -> list[int]:
    """How many values are left free behind each weight; none in older versions."""
    if value is None:
        return [0] * count
    gaps = value[number] if isinstance(value, list) and number < len(value) else None
    counts = gaps if isinstance(gaps, list) else [-1]
    if len(counts) != count or not all(type(gap) is int and gap >= 0 for gap in counts):
        raise WorkError(
            "param_alignment_paddings: expected one for each weight",
            where=str(folder.optim[0].path),
        )
    return counts


def _cut_each(folder: ZeroFolder, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, _Found]:
    """Stage 3: every process has an equal piece of each weight, in the same place."""
    world, available = len(folder.optim), sum(flat.elements for flat in folder.groups[0])
    per_rank = [
        [(file, flat) for flat in of_rank]
        for file, of_rank in zip(folder.optim, folder.groups, strict=True)
    ]
    found, at = {}, 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        each = -(-count // world)
        if at + each > available:
            raise _does_not_fit(folder, name, at + each, available)
        pieces = []
        for rank, flats in enumerate(per_rank):
            held = min(each, max(count - rank * each, 0))  # the rest is filling
            pieces += _slice(flats, at, held)
        found[name] = _gathered(shape, pieces)
        at += each
    if at != available:
        raise _does_not_fit(folder, "the last weight", at, available)
    return found


def _slice(flats: list[tuple[TorchFile, StoredTensor]], at: int, count: int) -> list[_Piece]:
    """Where `count` values from `at` on are, in vectors that follow each other."""
    pieces = []
    for file, flat in flats:
        if count and at < flat.elements:
            here = min(count, flat.elements - at)
            pieces.append(_Piece(file, flat, at, here))
            count -= here
            at += here
        at -= flat.elements
    return pieces


def _does_not_fit(folder: ZeroFolder, name: str, wanted: int, available: int) -> WorkError:
    return WorkError(
        f"param_shapes: {short(name)} ends at value {wanted} of the flat partitions, which have "
        f"{available}",
        where=str(folder.path),
        fix=MISSING,
    )


def _gathered(shape: tuple[int, ...], pieces: list[_Piece]) -> _Found:
    dtype = pieces[0].flat.dtype if pieces else "F32"
    places = len({id(piece.flat) for piece in pieces})
    how = f"from {places} flat partition{'' if places == 1 else 's'}"
    return dtype, shape, how, partial(_gather, shape, pieces, dtype)


def _gather(shape: tuple[int, ...], pieces: list[_Piece], dtype: str) -> Tensor:
    import torch

    from tfcli.checkpoints.io.dtypes import torch_dtype

    if len(pieces) == 1:
        return pieces[0].read().view(shape)
    out = torch.empty(math.prod(shape), dtype=torch_dtype(dtype))
    at = 0
    for piece in pieces:
        out[at : at + piece.count] = piece.read()
        at += piece.count
    return out.view(shape)


def _frozen(folder: ZeroFolder) -> dict[str, _Found]:
    """Weights that were not trained: whole in stages 1 and 2, in pieces in stage 3."""
    shapes = read_shapes(folder, "frozen_param_shapes", folder.state("frozen_param_shapes"))
    files = folder.model if folder.stage == 3 else folder.model[:1]
    if shapes and folder.stage == 3 and len(files) != len(folder.optim):
        raise WorkError(
            f"the *_model_states.pt of {len(files)} of {len(folder.optim)} processes are here",
            where=str(folder.path),
            fix=MISSING,
        )
    fragments = [entry(file, "frozen_param_fragments", dict) for file in files] if shapes else []
    found = {}
    for name, shape in shapes.items():
        parts = [of_file.get(name) for of_file in fragments]
        count = math.prod(shape)
        if not all(type(part) is StoredTensor for part in parts):
            raise WorkError(f"frozen_param_fragments lacks {short(name)}", where=str(folder.path))
        if sum(part.elements for part in parts) < count:
            raise WorkError(
                f"frozen_param_fragments of {short(name)} have too few values for {list(shape)}",
                where=str(folder.path),
                fix=MISSING,
            )
        pairs = list(zip(files, parts, strict=True))
        if folder.stage == 3:
            found[name] = _gathered(shape, _slice(pairs, 0, count))
        elif parts[0].shape == shape:
            found[name] = (parts[0].dtype, shape, "", files[0].reads(parts[0], name))
        else:
            raise WorkError(
                f"frozen_param_fragments of {short(name)} is {list(parts[0].shape)}, expected "
                f"{list(shape)}",
                where=str(folder.path),
            )
    return found


def _stored(folder: ZeroFolder) -> dict[str, _Found]:
    """What is saved whole: buffers, and in stages 1 and 2 all weights as they are trained with.

    Stage 1 tells nothing of weights that are not trained; these are the ones that are here only.
    """
    names = folder.state("buffer_names") or []
    return {
        name: (value.dtype, value.shape, "", folder.model[0].reads(value, name))
        for name, value in folder.state("module").items()
        if type(value) is StoredTensor and type(name) is str and (folder.stage < 3 or name in names)
    }


def _shared(folder: ZeroFolder, trained: Mapping[str, _Found]) -> dict[str, _Found]:
    """Further names of trained weights: those that DeepSpeed lists, and those that lie as one."""
    listed = folder.state("shared_params") or {}
    if not isinstance(listed, dict):
        raise WorkError("shared_params: expected names by name", where=str(folder.path))
    found = {name: trained[other] for name, other in listed.items() if other in trained}
    module = {n: v for n, v in folder.state("module").items() if type(v) is StoredTensor}
    homes = {_home(module[name]): name for name in trained if name in module}
    for name, value in module.items():
        if value.elements and name not in trained and _home(value) in homes:
            found.setdefault(name, trained[homes[_home(value)]])
    return found


def _home(value: StoredTensor) -> tuple[int, int, tuple[int, ...]]:
    return id(value.storage), value.offset, value.shape
