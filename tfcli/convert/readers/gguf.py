"""GGUF files: llama.cpp's names and types, as Hugging Face's tensors."""

from __future__ import annotations

from pathlib import Path

from tfcli.convert.view import View, ViewTensor
from tfcli.errors import UsageError
from tfcli.gguf.from_gguf import FromGGUF, plan_from_gguf
from tfcli.gguf.header import is_gguf
from tfcli.gguf.types import BY_NAME
from tfcli.gguf.vocabulary_read import write_tokenizer


def gguf_file(path: Path) -> Path | None:
    """The GGUF file that a path is, or the first one of a folder that holds nothing else to read.

    Of a split model it is the first part, which names the others.
    """
    if path.is_file():
        return path if is_gguf(path) else None
    found = sorted(file for file in path.glob("*.gguf") if is_gguf(file))
    return found[0] if found else None


def open_view(path: Path) -> View:
    """The view of a GGUF file; quantized tensors come out dense.

    Raises:
        UsageError: several models in one folder.
        WorkError: a broken file, or an architecture or tokenizer that is not covered.
    """
    file = gguf_file(path)
    assert file is not None, "detect() finds GGUF files only"
    others = [each for each in path.glob("*.gguf") if "-of-" not in each.name]
    if path.is_dir() and len(others) > 1:
        raise UsageError(
            f"the folder holds {len(others)} GGUF files", where=str(path), fix="name one of them"
        )
    planned = plan_from_gguf(file)
    tensors = {}
    for origin in planned.origins:
        item = planned.pending(origin)
        stored = planned.file.info(origin.stored).dtype
        how = "" if BY_NAME[stored].plain and origin.change is None else _how(stored, origin.change)
        tensors[item.name] = ViewTensor(
            item.name, item.dtype, item.shape, (origin.stored,), how, item.read
        )
    files = tuple(dict.fromkeys(info.file for info in planned.file.tensors.values()))
    return View("gguf", path, planned.config, tensors, files, carry=lambda to: _carry(planned, to))


def _how(stored: str, change: object) -> str:
    parts = [] if BY_NAME[stored].plain else [f"{stored} dequantized"]
    if change is not None:
        parts.append(type(change).__name__.lower())
    return ", ".join(parts)


def _carry(planned: FromGGUF, folder: Path) -> list[str]:
    if planned.vocabulary is None:
        return []
    write_tokenizer(planned.vocabulary, folder)
    return ["tokenizer.json", "tokenizer_config.json"]
