"""FlagAI's folders to Hugging Face's layout and back, bit for bit.

Tensors are renamed, divided and joined; none is computed. They go one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tfcli.checkpoints.beside import CONFIG, copy_companions, read_object
from tfcli.checkpoints.flagai.configs import is_flagai, kind_of, to_core
from tfcli.checkpoints.flagai.configs import to_flagai as flagai_config
from tfcli.checkpoints.flagai.rules import DIALECTS
from tfcli.checkpoints.flagai.tensors import as_flagai, write_flagai
from tfcli.checkpoints.flagai.weights import HFView, has_weights, open_weights
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.shards import DEFAULT_SHARD_BYTES, write_shards
from tfcli.checkpoints.io.dtypes import dtype_code, stored_shape
from tfcli.errors import WorkError
from tfcli.files import write_json
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

    def unneeded(self, name: str) -> str | None:
        """Why a tensor of Hugging Face is left out, such as a mask that is computed."""
        patterns = get_family(self.kind).model_class(self.task).ignorable()
        return next((why for odd, why in patterns.items() if re.search(odd, name)), None)


def is_folder(folder: Path) -> bool:
    """Whether a folder is FlagAI's: a config.json of its own, and weights beside it."""
    if not (folder / CONFIG).is_file() or not has_weights(folder):
        return False
    return is_flagai(read_object(folder, CONFIG))


def open_folder(folder: Path) -> Opened:
    """Read a FlagAI folder's names; its numbers are read when a tensor is asked for.

    The tensors are views of maps that cannot be written to.

    Raises:
        WorkError: files that cannot be read.
        ModelError: a config that is not built.
    """
    config = read_object(folder, CONFIG)
    kind = kind_of(config, str(folder / CONFIG))
    stored = open_weights(folder, kind, writable=False)
    task = task_of(stored, kind)
    view = HFView(stored, DIALECTS[kind], task, own=is_flagai(config))
    core = to_core(config, kind).replace(architectures=[get_family(kind).names[task]])
    core = _with_labels(core, view)
    if any(not torch.equal(view[name], view[origin]) for name, origin in _pairs(view, kind)):
        core = core.replace(tie_word_embeddings=False)
    return Opened(core.to_dict(), view)


def to_hf(folder: Path, out: Path, *, max_shard_bytes: int = DEFAULT_SHARD_BYTES) -> dict[str, str]:
    """Write a FlagAI folder in Hugging Face's layout.

    Args:
        folder: config.json and weights, those of model-parallel ranks too.
        out: made when it is not there.
        max_shard_bytes: the largest weight file.

    Returns:
        stored name -> why it is left out

    Raises:
        WorkError: files that cannot be read or written.
        ModelError: a config that is not built.
    """
    opened = open_folder(folder)
    out.mkdir(parents=True, exist_ok=True)
    write_shards(out, _pending(opened.tensors), max_shard_bytes)
    copy_companions(folder, out)
    write_json(out / CONFIG, opened.config)
    return opened.tensors.skipped


def to_flagai(folder: Path, out: Path) -> None:
    """Write a Hugging Face folder as FlagAI's: its config.json, and pytorch_model.bin.

    Raises:
        WorkError: files that cannot be read or written, or a model that FlagAI's class would
            compute in another way.
        ModelError: a config that is not built.
    """
    config = read_object(folder, CONFIG)
    kind = kind_of(config, str(folder / CONFIG))
    stored = open_weights(folder, kind, writable=False)
    target = Target.of(config, stored, str(folder / CONFIG))
    view = HFView(stored, DIALECTS[kind], target.task, own=False)
    needed = [item for item in _pending(view) if target.unneeded(item.name) is None]
    tensors = as_flagai(needed, kind, target.task, target.nested)
    out.mkdir(parents=True, exist_ok=True)
    write_flagai(out, tensors, kind, target.heads)
    copy_companions(folder, out)
    write_json(out / CONFIG, target.config)


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


def _pending(view: HFView) -> list[PendingTensor]:
    pending = []
    for name in view:
        like = view.shape_of(name)
        code = dtype_code(like.dtype)
        shape = stored_shape(code, tuple(like.shape))
        pending.append(PendingTensor(name, code, shape, partial(view.__getitem__, name)))
    return pending
