"""How an embedding model makes one vector of a text's states: sentence-transformers' files.

Source: https://github.com/huggingface/sentence-transformers, `modules.json` and
`1_Pooling/config.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.checkpoints.strict_json import MAX_BYTES, parse_object
from tfcli.errors import WorkError
from tfcli.files import inside, read_bounded, write_json

MODULES, FOLDER = "modules.json", "1_Pooling"
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
_KNOWN = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class Pooling:
    """What the files say.

    Args:
        modes: such as `mean` or `cls`; the vectors of several are joined.
        normalizes: whether vectors get the length 1.
        others: modules that are none of model, pooling and normalization.
        place: the folder that says it.
    """

    modes: list[str]
    normalizes: bool
    others: list[str]
    place: str


def read_pooling(folder: Path) -> Pooling | None:
    """The pooling of a checkpoint folder; None where it has no such files.

    Raises:
        WorkError: one of them is no such file.
    """
    modules = _modules(folder)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    place = next(
        (str(m.get("path")) for m, kind in zip(modules, kinds, strict=True) if kind == "Pooling"),
        FOLDER,
    )
    path = inside(folder, f"{place}/config.json")
    if not path.is_file():
        return None
    modes = _modes(parse_object(read_bounded(path, MAX_BYTES), where=str(path)))
    others = [kind for kind in kinds if kind not in _KNOWN]
    return Pooling(modes, "Normalize" in kinds, others, place)


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
