"""GGUF files: llama.cpp's names and types, as Hugging Face's tensors."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.gguf.from_gguf import FromGGUF, plan_from_gguf
from tfcli.checkpoints.gguf.header import is_gguf
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.gguf.vocabulary_read import write_tokenizer
from tfcli.errors import UsageError, WorkError


def gguf_file(path: Path) -> Path | None:
    """The GGUF file that a path is, or the first one of a folder that holds nothing else to read.

    Of a split model it is the first part, which names the others.
    """
    if path.is_file():
        return path if is_gguf(path) else None
    found = sorted(file for file in path.glob("*.gguf") if is_gguf(file))
    return found[0] if found else None


def only_file(path: Path) -> Path:
    """The GGUF file of a path that `gguf_file` finds one in.

    Raises:
        UsageError: several models in one folder.
    """
    file = gguf_file(path)
    assert file is not None, "detect() finds GGUF files only"
    others = [each for each in path.glob("*.gguf") if "-of-" not in each.name]
    if path.is_dir() and len(others) > 1:
        raise UsageError(
            f"the folder holds {len(others)} GGUF files", where=str(path), fix="name one of them"
        )
    return file


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a GGUF file; quantized tensors come out dense.

    Args:
        path: the file, or its folder.
        asked: `exact` is of the names in the file, see `plan_from_gguf`.

    Raises:
        UsageError: several models in one folder.
        WorkError: a broken file, or an architecture or tokenizer that is not covered.
    """
    file = only_file(path)
    planned = plan_from_gguf(file, asked.exact)
    tensors = {}
    for origin in planned.origins:
        item = planned.pending(origin)
        stored = planned.file.info(origin.stored).dtype
        how = "" if BY_NAME[stored].plain and origin.change is None else _how(stored, origin.change)
        held = "" if stored == item.dtype else stored
        tensors[item.name] = TensorEntry(
            item.name, item.dtype, item.shape, (origin.stored,), how, item.read, held
        )
    files = tuple(dict.fromkeys(info.file for info in planned.file.tensors.values()))
    return Checkpoint(
        "gguf", path, planned.config, tensors, files, carry=lambda to: _carry(planned, to)
    )


def _how(stored: str, change: object) -> str:
    parts = [] if BY_NAME[stored].plain else [f"{stored} dequantized"]
    if change is not None:
        parts.append(type(change).__name__.lower())
    return ", ".join(parts)


def _carry(planned: FromGGUF, folder: Path) -> list[str]:
    from tfcli.tokenizers.load import load_tokenizer

    if planned.vocabulary is None:
        return []
    write_tokenizer(planned.vocabulary, folder)
    try:
        load_tokenizer(folder)
    except WorkError as error:
        raise WorkError(f"its tokenizer: {error.what}", where=str(planned.file.path)) from error
    return ["tokenizer.json", "tokenizer_config.json"]
