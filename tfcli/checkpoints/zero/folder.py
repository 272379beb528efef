"""The files of a DeepSpeed ZeRO step: found, opened, and checked to belong together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.header import MAX_DIMENSIONS
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.file import TorchFile
from tfcli.checkpoints.torch.pickle.values import Record, StoredTensor
from tfcli.errors import WorkError
from tfcli.files import inside

_OPTIM = re.compile(r"(?:[a-z0-9]+_)?zero_pp_rank_(\d{1,6})_mp_rank_(\d+)_optim_states\.pt")
_MODEL = re.compile(r"(?:zero_pp_rank_(\d{1,6})_)?mp_rank_(\d+)_model_states\.pt")
_MAX_TAG = 255  # bytes of a file name
MISSING = "get the whole folder again: the files of every process are needed"


@dataclass(frozen=True)
class ZeroFolder:
    """The opened files of one step, in the order of the processes.

    Args:
        path: the step's folder.
        stage: of ZeRO, 1 to 3.
        optim: the files of optimizer states. model: those of model states.
        groups: the flat fp32 vectors of each process, one for each group of parameters.
    """

    path: Path
    stage: int
    optim: tuple[TorchFile, ...]
    model: tuple[TorchFile, ...]
    groups: tuple[tuple[StoredTensor, ...], ...]

    def state(self, key: str, number: int = 0) -> Any:
        """An entry of a process's model states; None where there is none."""
        return self.model[number].content.get(key)


def step_folder(path: Path) -> Path:
    """The folder of the step that counts: the path itself, or the one that `latest` names.

    Raises:
        WorkError: `latest` is missing or names a step that is not here.
    """
    if any(_OPTIM.fullmatch(entry.name) for entry in path.iterdir()):
        return path
    steps = sorted({file.parent.name for file in path.glob("*/*_optim_states.pt")})
    if (path / "latest").is_file():
        with inside(path, "latest").open("rb") as file:
            tag = file.read(_MAX_TAG + 1).decode(errors="replace").strip()
        if tag not in steps:
            raise WorkError(
                f"names the step {short(tag)}, whose files are not here",
                where=str(path / "latest"),
                fix=f"name the folder of a step: {', '.join(steps[-3:])}",
            )
        return inside(path, tag)
    if len(steps) != 1:
        raise WorkError(
            f"{len(steps)} steps are here and no file `latest` says which counts",
            where=str(path),
            fix=f"name the folder of a step: {', '.join(steps[-3:])}",
        )
    return inside(path, steps[0])


def open_step(path: Path) -> ZeroFolder:
    """Open the files of a step and check that they belong together. No values are read.

    Raises:
        WorkError: files of some processes are missing, the model is cut in another way too, or a
            file is broken.
    """
    names = sorted(entry.name for entry in path.iterdir())
    optim = _by_rank(path, [m for m in map(_OPTIM.fullmatch, names) if m])
    model = _by_rank(path, [m for m in map(_MODEL.fullmatch, names) if m])
    others = [n for n in names if n.endswith("_model_states.pt") and not _MODEL.fullmatch(n)]
    if others:
        raise WorkError(
            f"{others[0]}: experts or stages of a pipeline lie apart, which is not read",
            where=str(path),
            fix="convert it with DeepSpeed's own scripts first",
        )
    for file in model:
        entry(file, "module", dict)
    if not model:
        raise WorkError("there is no *_model_states.pt", where=str(path), fix=MISSING)
    states = [entry(file, "optimizer_state_dict", dict) for file in optim]
    stage, count = (_number(states[0].get(k)) for k in ("zero_stage", "partition_count"))
    if stage not in (1, 2, 3):
        raise WorkError(f"zero_stage is {stage}; 1, 2 and 3 are read", where=str(optim[0].path))
    if count != len(optim):
        raise WorkError(
            f"{count} processes saved it, the *_optim_states.pt of {len(optim)} are here",
            where=str(path),
            fix=MISSING,
        )
    key = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
    groups = tuple(
        _flat(file, state.get(key), key) for file, state in zip(optim, states, strict=True)
    )
    sizes = {tuple(flat.elements for flat in of_rank) for of_rank in groups}
    if len({len(of_rank) for of_rank in groups}) > 1 or (stage == 3 and len(sizes) > 1):
        raise WorkError(f"{key} differs between the processes", where=str(path), fix=MISSING)
    return ZeroFolder(path, stage, optim, model, groups)


def _by_rank(path: Path, found: list[re.Match[str]]) -> tuple[TorchFile, ...]:
    """The files of one kind, opened, one for each process."""
    for match in found:
        if int(match[2]):
            raise WorkError(
                f"{match[0]}: the model is also cut by tensor parallelism, which is not read",
                where=str(path),
                fix="convert it with DeepSpeed's own scripts first",
            )
    ranks = {int(match[1] or 0): match[0] for match in found}
    missing = sorted(set(range(len(found))) - set(ranks))
    if missing or len(ranks) != len(found):
        raise WorkError(
            f"the files of the processes {sorted(ranks)} do not belong together",
            where=str(path),
            fix=MISSING,
        )
    return tuple(TorchFile(inside(path, ranks[rank])) for rank in sorted(ranks))


def entry(file: TorchFile, key: str, kind: type) -> Any:
    """An entry of a file's dictionary.

    Raises:
        WorkError: it is not there, or of another kind.
    """
    value = file.content.get(key) if isinstance(file.content, dict) else None
    if not isinstance(value, kind):
        raise WorkError(f"{key}: expected a {kind.__name__}", where=str(file.path))
    return value


def _number(value: Any) -> int:
    if isinstance(value, list):  # one for each parameter group
        return max((_number(item) for item in value), default=-1)
    if isinstance(value, Record) and len(value.args) == 1:  # DeepSpeed's enumeration of stages
        value = value.args[0]
    return value if type(value) is int else -1


def _flat(file: TorchFile, value: Any, key: str) -> tuple[StoredTensor, ...]:
    groups = value if isinstance(value, list | tuple) else [None]
    if not all(type(g) is StoredTensor and len(g.shape) == 1 and g.stride == (1,) for g in groups):
        raise WorkError(
            f"{key}: expected flat tensors",
            where=str(file.path),
            fix="the folder holds no fp32 weights; save a checkpoint with the optimizer",
        )
    return tuple(groups)


def read_shapes(folder: ZeroFolder, key: str, value: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by name, checked; empty for None.

    Raises:
        WorkError: something else.
    """
    if value is not None and not isinstance(value, dict):
        raise WorkError(f"{key}: expected shapes by name", where=str(folder.model[0].path))
    for name, shape in (value or {}).items():
        good = type(shape) is tuple and len(shape) <= MAX_DIMENSIONS
        if type(name) is not str or not good or not all(type(n) is int and n >= 0 for n in shape):
            raise WorkError(
                f"{key} of {short(str(name))}: no shape", where=str(folder.model[0].path)
            )
    return value or {}
