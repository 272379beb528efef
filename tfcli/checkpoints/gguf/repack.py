"""A GGUF file as another one: tensors are kept as they are stored, or get another type.

Names and keys stay, so what the tensors mean does not matter here: quantized rows are copied bit
for bit, in types too that nothing here writes or reads. Files of version 2 become version 3, and
the parts of a split model one file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.gguf.choose import TypeOf, stays_single, type_chooser
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.plan import Target, ToGGUF
from tfcli.checkpoints.gguf.quants import decode
from tfcli.checkpoints.gguf.split import open_gguf
from tfcli.checkpoints.gguf.to_gguf import QUANTIZATION_VERSION
from tfcli.checkpoints.gguf.types import BY_NAME, FILE_TYPES, READABLE
from tfcli.checkpoints.gguf.vocabulary import no_vocabulary
from tfcli.checkpoints.io.dtypes import FLOATS
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.errors import WorkError
from tfcli.several_cores import GROUP, PIECE, spans

if TYPE_CHECKING:
    from torch import Tensor

# Of a file that is one of several, and of one with other gaps between tensors than ours.
_DROPPED = ("split.no", "split.count", "split.tensors.count", "general.alignment")


def plan_repack(
    path: Path,
    kind: str | None = None,
    tensor_types: Sequence[tuple[str, str]] = (),
    *,
    tokenizer: bool = True,
) -> ToGGUF:
    """Plan a GGUF file from another one.

    Args:
        path: the file, or the first of several parts.
        kind: the type of most tensors; None: each keeps its own.
        tensor_types: (regular expression found in the name, type); the first that fits counts.
            What llama.cpp wants in float32 keeps its type, as integers do.
        tokenizer: False leaves the tokenizer out.

    Raises:
        UsageError: an unknown type.
        WorkError: a broken file, or a type that cannot be dequantized and is to be another one.
    """
    file = open_gguf(path)
    arch = file.metadata.get("general.architecture")
    choose = type_chooser(
        kind,
        tensor_types,
        tied="output.weight" not in file.tensors,
        experts=file.metadata.get(f"{arch}.expert_count", 0),
    )
    targets = [_target(file, info, choose) for info in file.tensors.values()]
    metadata = {
        key: Value(file.types[key], value)
        for key, value in file.metadata.items()
        if key not in _DROPPED and (tokenizer or not key.startswith("tokenizer."))
    }
    metadata |= {} if tokenizer else no_vocabulary()
    if kind is not None:
        metadata["general.file_type"] = Value("uint32", FILE_TYPES[kind.upper()])
    if any(not BY_NAME[target.dtype].plain for target in targets):
        metadata.setdefault("general.quantization_version", Value("uint32", QUANTIZATION_VERSION))
    return ToGGUF(path, targets, metadata, dict, notes=_notes(targets))


def _target(file: GGUFFile, info: TensorInfo, choose: TypeOf) -> Target:
    held, shape = info.dtype, info.shape
    wanted, note = choose(info.name, len(shape), shape[-1] if shape else 1)
    plain = BY_NAME[held].plain
    if not wanted or stays_single(info.name, len(shape)) or (plain and held not in FLOATS):
        wanted, note = held, ""
    kept = wanted == held
    if not kept and held not in READABLE:
        raise WorkError(
            f"{held} cannot be dequantized to become {wanted}",
            where=f"{info.file}: {info.name}",
            fix="leave its type as it is: name the others with --tensor-type",
        )
    return Target(
        info.name,
        wanted,
        shape,
        (info.name,),
        held,
        "copied" if kept else "converted",
        "" if kept or plain else f"{held} dequantized",
        note,
        info.nbytes if kept or plain else GROUP * PIECE * 4,
        partial(_stored if kept or plain else _dequantized, file, info),
    )


def _stored(file: GGUFFile, info: TensorInfo) -> list[Tensor]:
    return [file.read(info.name)]


def _dequantized(file: GGUFFile, info: TensorInfo) -> Iterator[Tensor]:
    """The values of some rows at a time, float32."""
    import torch

    if not info.elements:
        return
    stored, width = file.tensor(info.name), info.shape[-1]
    rows = stored.reshape(-1, stored.shape[-1])
    for start, stop in spans(len(rows), max(GROUP * PIECE // width, 1)):
        yield decode(rows.rows(start, stop), info.dtype, torch.empty(stop - start, width))


def _notes(targets: Sequence[Target]) -> list[str]:
    said = [f"{t.name}: {t.dtype}, because {t.note}" for t in targets if t.note]
    again = Counter((t.source_dtype, t.dtype) for t in targets if t.how)
    for (held, dtype), count in again.items():
        said.append(
            f"{count} {'tensor' if count == 1 else 'tensors'}: {held} is dequantized to become "
            f"{dtype}; a file made from the unquantized checkpoint is closer to it"
        )
    return said
