"""FlagAI's folders in Hugging Face's terms, and what a model of Hugging Face becomes in FlagAI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.flagai.configs import is_flagai, kind_of, to_core
from tfcli.checkpoints.flagai.configs import to_flagai as flagai_config
from tfcli.checkpoints.flagai.rules import DIALECTS
from tfcli.checkpoints.flagai.weights import HFView, has_weights, open_weights
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
class Opened:
    """A FlagAI folder in Hugging Face's terms.

    Args:
        config: the content of config.json.
        tensors: by Hugging Face's names.
    """

    config: dict[str, Any]
    tensors: HFView


@dataclass(frozen=True)
class Target:
    """What a model of Hugging Face becomes in FlagAI.

    Args:
        kind: of the model.
        task: whose head it has.
        nested: FlagAI's class holds the body under a name of its own.
        config: the content of FlagAI's config.json.
        heads: of its attention.
    """

    kind: str
    task: str
    nested: bool
    config: dict[str, Any]
    heads: int

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
        heads = to_core(config, kind).num_attention_heads
        return cls(kind, task, nested, flagai_config(config, kind), heads)

    def hf_names(self, name: str) -> list[str]:
        """What `open_folder` calls a tensor of Hugging Face that was written, the first of which
        it has for it alone."""
        dialect = DIALECTS[self.kind]
        place = dialect.flagai_place(name, self.task, self.nested)
        spelt = list(dialect.hf_places(place.name, self.task))[place.part]
        copies = dialect.copies | {b: a for a, b in dialect.copies.items()}
        return [spelt, *([copies[spelt]] if spelt in copies else [])]


def is_folder(folder: Path) -> bool:
    """Whether a folder is FlagAI's: a config.json of its own, and weights beside it."""
    if not (folder / CONFIG).is_file() or not has_weights(folder):
        return False
    return is_flagai(read_object(folder, CONFIG))


def open_folder(folder: Path) -> Opened:
    """Read a FlagAI folder's names; its numbers are read when a tensor is asked for.

    Raises:
        WorkError: files that cannot be read.
        ModelError: a config that is not built.
    """
    config = read_object(folder, CONFIG)
    kind = kind_of(config, str(folder / CONFIG))
    stored = open_weights(folder, kind)
    task = task_of(stored, kind)
    view = HFView(stored, DIALECTS[kind], task, own=is_flagai(config))
    core = to_core(config, kind).replace(architectures=[get_family(kind).names[task]])
    core = _with_labels(core, view)
    if any(not torch.equal(view[name], view[origin]) for name, origin in _pairs(view, kind)):
        core = core.replace(tie_word_embeddings=False)
    return Opened(core.to_dict(), view)


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


def _with_labels(core: Any, view: HFView) -> Any:
    """The config with as many classes as the head has rows."""
    for name in ("classifier.weight", "multichoice_head.weight"):
        if name in view and not core.id2label:
            count = view.shape_of(name).shape[0]
            return core.replace(
                id2label={str(i): f"LABEL_{i}" for i in range(count)},
                label2id={f"LABEL_{i}": i for i in range(count)},
            )
    return core


def _pairs(view: HFView, kind: str) -> list[tuple[str, str]]:
    """What the view holds twice where Hugging Face's config may tie it."""
    ties = DIALECTS[kind].ties.items()
    return [(name, origin) for name, origin in ties if name in view and origin in view]
