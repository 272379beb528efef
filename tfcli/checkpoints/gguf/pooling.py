"""How an embedding model makes one vector of its states, as GGUF's key.

`<arch>.pooling_type` is llama.cpp's enumeration. It scales vectors to length 1 unless told not to,
so a file that does not say whether its model did comes back as one that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.hparams import POOLING
from tfcli.checkpoints.pooling import read_pooling
from tfcli.errors import WorkError

NORMALIZES = "tfcli.normalizes"
_NUMBERS = {"mean": 1, "cls": 2, "last": 3}
_NONE = 0


def write_pooling(folder: Path | None, arch: str) -> tuple[dict[str, Value], list[str]]:
    """The keys of an embedding model's folder, and what the user should know.

    Args:
        folder: with modules.json and 1_Pooling/config.json, or without.
        arch: GGUF's architecture.

    Raises:
        WorkError: one of the two is no such file.
    """
    found = None if folder is None else read_pooling(folder)
    if found is None:
        return {}, []
    notes = [
        f"GGUF has no place for the module {kind} of modules.json: vectors are those before it"
        for kind in found.others
    ]
    if len(found.modes) != 1 or found.modes[0] not in _NUMBERS:
        said = " and ".join(found.modes) or "none"
        return {}, [*notes, f"llama.cpp has no pooling like {found.place}'s: {said}"]
    key = {f"{arch}.{POOLING}": Value("uint32", _NUMBERS[found.modes[0]])}
    return {**key, NORMALIZES: Value("bool", found.normalizes)}, notes


def pooling_of(metadata: Mapping[str, Any], arch: str, where: str) -> str | None:
    """The pooling of a GGUF file; None where it has none.

    Raises:
        WorkError: one that sentence-transformers does not have.
    """
    key = f"{arch}.{POOLING}"
    number = metadata.get(key, _NONE)
    if number == _NONE:
        return None
    found = next((mode for mode, its in _NUMBERS.items() if its == number), None)
    if found is None:
        raise WorkError(f"{key} is {number}; read are 0 to 3: none, mean, cls, last", where=where)
    return found
