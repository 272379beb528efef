"""How an embedding model makes one vector of its states: as files, and as GGUF's key.

`<arch>.pooling_type` is llama.cpp's enumeration. It scales vectors to length 1 unless told not to,
so a file that does not say whether its model did comes back as one that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.hparams import POOLING
from tfcli.checkpoints.strict_json import MAX_BYTES, parse_object
from tfcli.errors import WorkError
from tfcli.files import inside, read_bounded, write_json

MODULES, FOLDER = "modules.json", "1_Pooling"
NORMALIZES = "tfcli.normalizes"
_FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""Key of 1_Pooling/config.json -> the mode."""
_WORDS = {"lasttoken": "last"}
_NUMBERS = {"mean": 1, "cls": 2, "last": 3}
_NONE = 0
_KNOWN = ("Transformer", "Pooling", "Normalize")


def write_pooling(folder: Path | None, arch: str) -> tuple[dict[str, Value], list[str]]:
    """The keys of an embedding model's folder, and what the user should know.

    Args:
        folder: with modules.json and 1_Pooling/config.json, or without.
        arch: GGUF's architecture.

    Raises:
        WorkError: one of the two is no such file.
    """
    if folder is None:
        return {}, []
    modules = _modules(folder)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    place = next(
        (str(m.get("path")) for m, kind in zip(modules, kinds, strict=True) if kind == "Pooling"),
        FOLDER,
    )
    path = inside(folder, f"{place}/config.json")
    if not path.is_file():
        return {}, []
    modes = _modes(parse_object(read_bounded(path, MAX_BYTES), where=str(path)))
    notes = [
        f"GGUF has no place for the module {kind} of modules.json: vectors are those before it"
        for kind in kinds
        if kind not in _KNOWN
    ]
    if len(modes) != 1 or modes[0] not in _NUMBERS:
        said = " and ".join(modes) or "none"
        return {}, [*notes, f"llama.cpp has no pooling like {path.parent.name}'s: {said}"]
    found = {f"{arch}.{POOLING}": Value("uint32", _NUMBERS[modes[0]])}
    return {**found, NORMALIZES: Value("bool", "Normalize" in kinds)}, notes


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = inside(folder, MODULES)
    if not path.is_file():
        return []
    whole = b'{"modules": %b}' % read_bounded(path, MAX_BYTES)  # the file is a list
    modules = parse_object(whole, where=str(path))["modules"]
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise WorkError("expected a list of modules", where=str(path))
    return modules


def _modes(config: Mapping[str, Any]) -> list[str]:
    """The modes of a 1_Pooling/config.json; newer ones name them in one key."""
    named = config.get("pooling_mode")
    if named is not None:
        words = named if isinstance(named, list) else [named]
        return [_WORDS.get(str(word), str(word)) for word in words]
    return [mode for key, mode in _FLAGS.items() if config.get(key) is True]


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


def write_modules(pooling: str, width: int, normalizes: bool, folder: Path) -> list[str]:
    """Write sentence-transformers' files; returns their names."""
    (folder / FOLDER).mkdir(exist_ok=True)
    flags = {key: mode == pooling for key, mode in _FLAGS.items()}
    config = {"word_embedding_dimension": width, **flags, "include_prompt": True}
    write_json(folder / FOLDER / "config.json", config)
    steps = [("Transformer", ""), ("Pooling", FOLDER)]
    steps += [("Normalize", "2_Normalize")] if normalizes else []
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(steps)
    ]
    write_json(folder / MODULES, modules)
    return [f"{FOLDER}/config.json", MODULES]
