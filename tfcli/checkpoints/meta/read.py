"""Meta's original folders: params.json and consolidated.NN.pth, one file a part.

The parts of tensor parallelism are put together again, names and the order of rotary rows become
Hugging Face's, and config.json is made from params.json. Mistral's consolidated.safetensors, whole
or in shards, are folders of one part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.dialect.rotary_rows import to_halves
from tfcli.checkpoints.folder import read_object
from tfcli.checkpoints.hf.source import TensorSource, open_file
from tfcli.checkpoints.io.dtypes import TORCH_NAMES
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.meta.params import PARAMS, Params, config_of, read_params
from tfcli.checkpoints.meta.rules import (
    BY_STORED,
    EMBEDDING,
    OUTPUT,
    RULES,
    Rule,
    split_layer,
)
from tfcli.checkpoints.meta.tokenizer import write_tokenizer
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.files import inside

if TYPE_CHECKING:
    from torch import Tensor

_PART = re.compile(r"consolidated\.(\d{2,4})\.(?:pth|safetensors)")
_SHARD = re.compile(r"consolidated-(\d{5})-of-(\d{5})\.safetensors")
_SINGLE = ("consolidated.safetensors", "consolidated.pth")
_MISSING = "get the whole folder: every part is needed"


@dataclass(frozen=True)
class _Folder:
    """The opened parts and the sizes of the whole tensors."""

    path: Path
    params: Params
    parts: tuple[TensorSource, ...]
    sizes: dict[str, int]


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a folder with params.json and consolidated weights.

    Raises:
        WorkError: a part is missing, tensors that params.json does not describe or that are not
            there, or sizes that do not fit.
    """
    params = read_params(read_object(path, PARAMS), where=str(path / PARAMS))
    parts = _open_parts(path)
    first, *others = parts
    for other in others:
        odd = set(first) ^ set(other)
        if odd:
            raise WorkError(
                f"{short(sorted(odd)[0])} is not in every part",
                where=str(other.files[0].path),
                fix=_MISSING,
            )
    tied = OUTPUT not in first
    _require_names(path, params, first, tied)
    folder = _Folder(path, params, parts, _sizes(path, params, parts, tied))
    tensors, unused = {}, {}
    for name in first:
        template, layer = split_layer(name)
        if template in BY_STORED:
            tensor = _tensor(folder, name, BY_STORED[template], layer)
            tensors[tensor.name] = tensor
        else:
            unused[name] = "rotary frequencies, computed from rope_theta"
    embedding = first.info(EMBEDDING)
    config = config_of(
        params,
        vocab=folder.sizes["vocab"],
        ffn=folder.sizes["ffn"],
        dtype=TORCH_NAMES[embedding.dtype],
        tied=tied,
    )
    files = tuple(file.path for part in parts for file in part.files)
    carry = partial(write_tokenizer, scaled=bool(params.rest.get("use_scaled_rope")))
    return Checkpoint(
        "meta", path, config, tensors, files, companions=path, unused=unused, carry=carry
    )


def _open_parts(path: Path) -> tuple[TensorSource, ...]:
    names = sorted(entry.name for entry in path.iterdir() if entry.name.startswith("consolidated"))
    single = [name for name in names if name in _SINGLE]
    shards = {int(m[1]): (m[0], int(m[2])) for m in map(_SHARD.fullmatch, names) if m}
    numbered = [m for m in map(_PART.fullmatch, names) if m]
    kinds = [bool(single), bool(shards), bool(numbered)]
    if sum(kinds) != 1 or len(single) > 1 or len({int(m[1]) for m in numbered}) < len(numbered):
        held = ", ".join(names[:4])
        raise WorkError(
            f"expected consolidated.00.pth and so on, once each; found {held}", where=str(path)
        )
    if single:
        return (TensorSource([open_file(inside(path, single[0]), writable=False)]),)
    if shards:
        counts = {count for _, count in shards.values()}
        _require_numbers(path, set(shards), set(range(1, max(counts) + 1)))
        files = [open_file(inside(path, shards[n][0]), writable=False) for n in sorted(shards)]
        return (TensorSource(files),)
    by_number = {int(m[1]): m[0] for m in numbered}
    _require_numbers(path, set(by_number), set(range(max(by_number) + 1)))
    return tuple(
        TensorSource([open_file(inside(path, by_number[n]), writable=False)])
        for n in sorted(by_number)
    )


def _require_numbers(path: Path, found: set[int], wanted: set[int]) -> None:
    missing = sorted(wanted - found)
    if missing or found - wanted:
        raise WorkError(
            f"parts {missing or sorted(found - wanted)} do not belong to the {len(found)} that "
            "are here",
            where=str(path),
            fix=_MISSING,
        )


def _require_names(path: Path, params: Params, first: TensorSource, tied: bool) -> None:
    """Every tensor that params.json asks for, and no other but frequencies."""
    wanted = {
        rule.stored.replace("{}", str(layer))
        for rule in RULES
        for layer in range(params.n_layers if "{}" in rule.stored else 1)
        if not (tied and rule.stored == OUTPUT)
    }
    missing = sorted(wanted - set(first))
    if missing:
        raise WorkError(
            f"{short(missing[0])} is missing, one of {len(missing)}",
            where=str(path),
            fix=f"get the weights that belong to {PARAMS}",
        )
    for name in first:
        if name not in wanted and not name.endswith("rope.freqs"):
            raise WorkError(
                f"{short(name)} is no tensor of the model that {PARAMS} describes",
                where=str(first.info(name).file),
            )


def _sizes(
    path: Path, params: Params, parts: tuple[TensorSource, ...], tied: bool
) -> dict[str, int]:
    def rows(name: str) -> int:
        shapes = [part.info(name).shape for part in parts]
        if any(len(shape) != 2 for shape in shapes):
            raise WorkError(f"{short(name)} is no matrix", where=str(path))
        return sum(shape[0] for shape in shapes)

    vocab = params.vocab_size
    if vocab < 0 and tied:
        whole = parts[0].info(EMBEDDING).shape[-1:] == (params.dim,)
        vocab = rows(EMBEDDING) // (1 if whole else len(parts))
    elif vocab < 0:
        vocab = rows(OUTPUT)
    return {
        "dim": params.dim,
        "heads": params.n_heads * params.head_dim,
        "kv": params.n_kv_heads * params.head_dim,
        "ffn": rows("layers.0.feed_forward.w1.weight"),
        "vocab": vocab,
    }


def _tensor(folder: _Folder, stored: str, rule: Rule, layer: int) -> TensorEntry:
    infos = [part.info(stored) for part in folder.parts]
    shape = tuple(folder.sizes[key] for key in rule.shape)
    along = _along(folder, rule, infos, shape)
    if len({info.dtype for info in infos}) > 1:
        raise WorkError(f"{short(stored)} has different types in the parts", where=str(folder.path))
    notes = []
    if len(infos) > 1:
        joined = f"{len(infos)} parts joined along dimension {along}"
        notes.append(joined if along is not None else f"the first of {len(infos)} copies")
    if rule.rotary:
        notes.append("rotary rows from pairs to halves")
    head_dim = folder.params.head_dim if rule.rotary else None
    parts = folder.parts if along is not None else folder.parts[:1]
    read = partial(_read, parts, stored, shape, along or 0, head_dim)
    name = rule.name.replace("{}", str(layer))
    return TensorEntry(name, infos[0].dtype, shape, (stored,), ", ".join(notes), read)


def _along(
    folder: _Folder, rule: Rule, infos: list[TensorInfo], shape: tuple[int, ...]
) -> int | None:
    """The dimension that the parts are joined along, None for copies; found from the shapes."""
    shapes = [info.shape for info in infos]
    if not rule.cut and set(shapes) == {shape}:
        return None
    for dim in rule.cut:
        same = all(len(s) == len(shape) for s in shapes) and {
            (*s[:dim], *s[dim + 1 :]) for s in shapes
        } == {(*shape[:dim], *shape[dim + 1 :])}
        heads = folder.params.head_dim if rule.rotary else 1
        if same and sum(s[dim] for s in shapes) == shape[dim]:
            if any(s[dim] % heads for s in shapes):
                break
            return dim
    held = " + ".join(str(list(s)) for s in shapes[:3])
    raise WorkError(
        f"{short(infos[0].name)} is {held} in {len(infos)} parts; {PARAMS} asks for {list(shape)}",
        where=str(infos[0].file),
        fix=_MISSING,
    )


def _read(
    parts: tuple[TensorSource, ...],
    stored: str,
    shape: tuple[int, ...],
    along: int,
    head_dim: int | None,
) -> Tensor:
    import torch

    if len(parts) == 1 and head_dim is None:
        return parts[0][stored]
    out = torch.empty(shape, dtype=parts[0][stored].dtype)
    at = 0
    for part in parts:
        piece = part[stored]
        target = out.narrow(along, at, piece.shape[along])
        at += piece.shape[along]
        if head_dim is None:
            target.copy_(piece)
        else:
            target.unflatten(0, (-1, 2, head_dim // 2)).copy_(to_halves(piece, head_dim))
    return out
