"""Meta's original folders: params.json and consolidated.NN.pth, one file a part.

The parts of tensor parallelism are put together again, names and the order of rotary rows become
Hugging Face's, and config.json is made from params.json. Mistral's consolidated.safetensors, whole
or in shards, are folders of one part.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from tfcli.checkpoints.beside import read_object
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.dialect.ranks import join
from tfcli.checkpoints.hf.read import as_stored
from tfcli.checkpoints.hf.source import TensorSource, open_file
from tfcli.checkpoints.io.dtypes import TORCH_NAMES
from tfcli.checkpoints.meta.params import PARAMS, Params, config_of, read_params
from tfcli.checkpoints.meta.rules import EMBEDDING, FIRST_FFN, OUTPUT, dialect
from tfcli.checkpoints.meta.tokenizer import write_tokenizer
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.files import inside

_PART = re.compile(r"consolidated\.(\d{2,4})\.(?:pth|safetensors)")
_SHARD = re.compile(r"consolidated-(\d{5})-of-(\d{5})\.safetensors")
_SINGLE = ("consolidated.safetensors", "consolidated.pth")
_MISSING = "get the whole folder: every part is needed"


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a folder with params.json and consolidated weights.

    Raises:
        WorkError: a part is missing, tensors that params.json does not describe or that are not
            there, or sizes that do not fit.
    """
    params = read_params(read_object(path, PARAMS), where=str(path / PARAMS))
    parts = _open_parts(path)
    first = parts[0]
    for name in (EMBEDDING, FIRST_FFN):
        if name not in first:
            raise WorkError(
                f"{short(name)} is missing",
                where=str(path),
                fix=f"get the weights that belong to {PARAMS}",
            )
    vocab = _vocab(path, params, parts)
    config = config_of(
        params,
        vocab=vocab,
        ffn=_rows(path, parts, FIRST_FFN),
        dtype=TORCH_NAMES[first.info(EMBEDDING).dtype],
        tied=OUTPUT not in first,
    )
    stored = {
        part.files[0].path: {info.name: as_stored(part, info) for info in part.infos()}
        for part in parts
    }
    names = dialect(vocab)
    return Checkpoint(
        "meta",
        path,
        config,
        join(stored, names, config),
        tuple(file.path for part in parts for file in part.files),
        companions=path,
        unused=names.unused(first),
        carry=partial(write_tokenizer, scaled=bool(params.rest.get("use_scaled_rope"))),
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
        return (TensorSource([open_file(inside(path, single[0]))]),)
    if shards:
        counts = {count for _, count in shards.values()}
        _require_numbers(path, set(shards), set(range(1, max(counts) + 1)))
        files = [open_file(inside(path, shards[n][0])) for n in sorted(shards)]
        return (TensorSource(files),)
    by_number = {int(m[1]): m[0] for m in numbered}
    _require_numbers(path, set(by_number), set(range(max(by_number) + 1)))
    return tuple(TensorSource([open_file(inside(path, by_number[n]))]) for n in sorted(by_number))


def _require_numbers(path: Path, found: set[int], wanted: set[int]) -> None:
    missing = sorted(wanted - found)
    if missing or found - wanted:
        raise WorkError(
            f"parts {missing or sorted(found - wanted)} do not belong to the {len(found)} that "
            "are here",
            where=str(path),
            fix=_MISSING,
        )


def _vocab(path: Path, params: Params, parts: tuple[TensorSource, ...]) -> int:
    if params.vocab_size >= 0:
        return params.vocab_size
    if OUTPUT in parts[0]:
        return _rows(path, parts, OUTPUT)
    whole = parts[0].info(EMBEDDING).shape[-1:] == (params.dim,)
    return _rows(path, parts, EMBEDDING) // (1 if whole else len(parts))


def _rows(path: Path, parts: tuple[TensorSource, ...], name: str) -> int:
    """Rows of a matrix in all parts together."""
    rows = 0
    for part in parts:
        if name not in part:
            raise WorkError(
                f"{short(name)} is not in every part",
                where=str(part.files[0].path),
                fix=_MISSING,
            )
        shape = part.info(name).shape
        if len(shape) != 2:
            raise WorkError(f"{short(name)} is no matrix", where=str(path))
        rows += shape[0]
    return rows
