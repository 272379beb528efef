"""The model that a merge writes, where the adapter brings tensors that the base has no place for.

A vocabulary that was resized for the training, or the head of another task, lie whole in the
adapter (PEFT's `modules_to_save`). Which config they belong to is found by building it, without
memory, until every one of them fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, WorkError
from tfcli.merge.adapter import Adapter
from tfcli.merge.names import Names

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Reshaped:
    """A model of other shapes than the base's.

    Args:
        config: the content of its config.json.
        tensors: the stored name of each of its tensors -> the parameter that is there, a stack's
            first.
        shapes: parameter -> its shape as a checkpoint keeps it.
        prefix: of the body's parameters.
        vocabulary: its size, where it is another one.
        task: where it is another one.
    """

    config: dict[str, Any]
    tensors: Mapping[str, str]
    shapes: Shapes
    prefix: str
    vocabulary: int | None
    task: str | None

    def place(self, parameter: str) -> str | None:
        """The model's own spelling of a parameter; None if it has none."""
        spellings = (parameter, self.prefix + parameter, parameter.removeprefix(self.prefix))
        return next((name for name in spellings if name in self.shapes), None)


def reshaped(base: Checkpoint, adapter: Adapter, names: Names) -> Reshaped | None:
    """The model whose places the adapter's whole tensors fit; None where the base's own has them,
    or where none is found. Of several, the first that has all of its values.
    """
    odd = _odd(base, adapter, names)
    if not odd:
        return None
    first = None
    for config, vocabulary, task in _candidates(base, adapter, odd):
        made = _built(config, vocabulary, task)
        if made is None:
            continue
        places = {name: made.place(name) for name in odd}
        if all(name is not None and made.shapes[name] == odd[own] for own, name in places.items()):
            if _is_whole(made, adapter, names):
                return made
            first = first or made
    return first


def _is_whole(made: Reshaped, adapter: Adapter, names: Names) -> bool:
    """Whether each tensor of a model is in the adapter or the base."""
    brought = {made.place(name) for name in adapter.whole}
    return all(
        parameter in brought or names.place(parameter) is not None
        for parameter in made.tensors.values()
    )


def _odd(base: Checkpoint, adapter: Adapter, names: Names) -> Shapes:
    """The whole tensors that the base has no place of their shape for."""
    odd = {}
    for parameter, stored in adapter.whole.items():
        shape = adapter.source.info(stored).shape
        place = names.place(parameter)
        if place is None:
            tie = names.tie(parameter)
            place = None if tie is None else names.place(base.ties[tie])
        if place is None or (place.index is None and base.tensors[place.name].shape != shape):
            odd[parameter] = shape
    return odd


def _candidates(
    base: Checkpoint, adapter: Adapter, odd: Shapes
) -> Iterator[tuple[dict[str, Any], int | None, str | None]]:
    """Configs that differ from the base's in the vocabulary, the task, or the number of labels."""
    from tfcli.models.registry import get_family

    try:
        config = base.model_config
        family = get_family(config.model_type)
        own = family.task_of(config.architectures)
    except ModelError:
        return
    tasks = [own] if adapter.task in (None, own) or adapter.task not in family.heads else []
    tasks += [task for task in family.heads if task != own and adapter.task in (None, task)]
    counts = sorted({shape[0] for shape in odd.values() if shape})
    for task in tasks:
        other = None if task == own else task
        for size in (None, *(count for count in counts if count != config.text.vocab_size)):
            for labels in (None, *counts):
                content = dict(base.config)
                if other is not None:
                    content["architectures"] = [family.names[task]]
                if size is not None:
                    content[type(config).spelling("vocab_size")] = size
                if labels is not None:
                    content.pop("num_labels", None)
                    content["id2label"] = {str(i): f"LABEL_{i}" for i in range(labels)}
                    content["label2id"] = {f"LABEL_{i}": i for i in range(labels)}
                yield content, size, other


def _built(config: dict[str, Any], vocabulary: int | None, task: str | None) -> Reshaped | None:
    from tfcli.models.loading import build
    from tfcli.models.registry import read_config

    try:
        model = build(read_config(config))
    except ModelError:
        return None
    prefix, ties = f"{model.base()}.", model.active_ties()
    tensors: dict[str, str] = {}
    shapes: Shapes = {}
    for name, tensor in model.state_dict().items():
        place, shape = model.place_of(name), tuple(tensor.shape)
        shapes[name] = shape[::-1] if place.transposed else shape
        if name not in ties:
            stored = place.name.removeprefix(prefix) if model.bare() else place.name
            tensors.setdefault(stored, name)
    return Reshaped(config, tensors, shapes, prefix, vocabulary, task)


def require_whole(missing: list[str], made: Reshaped, adapter: Adapter) -> None:
    """Refuse a model of which some tensors are neither in the base, in their new shape, nor in the
    adapter.

    Raises:
        WorkError: names one.
    """
    if not missing:
        return
    name, where = short(missing[0]), str(adapter.folder)
    if made.vocabulary is not None:
        raise WorkError(
            f"the adapter resizes the vocabulary to {made.vocabulary:,}, and holds no {name} of "
            "that size",
            where=where,
            fix="name the token table and the head in PEFT's modules_to_save, it then holds both",
        )
    raise WorkError(
        f"the adapter brings a head of its own, and {name} of it is neither in the base nor in "
        "the adapter",
        where=where,
        fix="name all of the head in modules_to_save when the adapter is trained",
    )
