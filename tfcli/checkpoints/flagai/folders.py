"""Whether a folder is FlagAI's, and what a model of Hugging Face becomes in FlagAI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.flagai.configs import is_flagai, kind_of, to_flagai
from tfcli.checkpoints.flagai.weights import has_weights
from tfcli.errors import WorkError
from tfcli.models.registry import get_family

# How a head's names begin, in either layout -> the core's task.
_TASKS = {
    "out_layer.": "sequence-classification",
    "final_dense.": "token-classification",
    "cls.predictions.": "masked-lm",
    "pool_layer.": "sequence-classification",
}
_WITHOUT_HEAD = {"glm": "causal-lm", "bert": "embedding", "gpt2": "causal-lm", "t5": "seq2seq-lm"}


@dataclass(frozen=True)
class Target:
    """What a model of Hugging Face becomes in FlagAI.

    Args:
        kind: of the model.
        task: whose head it has.
        nested: FlagAI's class holds the body under a name of its own.
        config: the content of FlagAI's config.json.
    """

    kind: str
    task: str
    nested: bool
    config: dict[str, Any]

    @classmethod
    def of(
        cls, config: Mapping[str, Any], names: Iterable[str], where: str | None = None
    ) -> Target:
        """What a config.json and the names of its tensors become.

        Raises:
            WorkError: no kind of FlagAI's, a head that it has no class for, or a model that its
                class would compute in another way.
            ModelError: a config that is not built.
        """
        kind = kind_of(config, where)
        task = _task_named(config, kind) or task_of(names, kind)
        nested = kind == "bert" and task != "embedding"
        nested = nested or (kind == "glm" and task == "sequence-classification")
        return cls(kind, task, nested, to_flagai(config, kind))


def is_folder(folder: Path) -> bool:
    """Whether a folder is FlagAI's: a config.json of its own, and weights beside it."""
    if not (folder / CONFIG).is_file() or not has_weights(folder):
        return False
    return is_flagai(read_object(folder, CONFIG))


def task_of(names: Iterable[str], kind: str) -> str:
    """The task whose head a checkpoint holds."""
    for name in names:
        for start, task in _TASKS.items():
            if name.startswith(start):
                return task
    return _WITHOUT_HEAD[kind]


def _task_named(config: Mapping[str, Any], kind: str) -> str | None:
    """The task that Hugging Face's config.json names, where FlagAI has a class for it."""
    named = config.get("architectures")
    if not named:
        return None
    task = get_family(kind).task_of(named)
    known = {_WITHOUT_HEAD[kind], *(_TASKS.values() if kind in ("bert", "glm") else ())}
    if task not in known:
        raise WorkError(f"FlagAI has no class for {named[0]}", where=f"{CONFIG}, key architectures")
    return task
