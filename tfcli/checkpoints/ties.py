"""What the model core knows of a checkpoint's names: which are tied, which are no parameters.

A checkpoint of a family that is not known, or with a setting that is not supported, can still be
converted and inspected: then nothing is known of its names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tfcli.errors import ModelError

if TYPE_CHECKING:
    from tfcli.models.model import Model


def config_ties(config: Mapping[str, Any]) -> dict[str, str]:
    """Tensor name -> the name that it equals, for the ties that a config.json asks for."""
    found = _model_class(config)
    if found is None:
        return {}
    model_class, tied = found
    return model_class.ties() if tied else {}


def surplus(config: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """The names in a checkpoint that are no parameters of the model: computed buffers, old masks,
    and tied tensors whose partner is there too.
    """
    found = _model_class(config)
    if found is None:
        return set()
    from tfcli.models.rules import current_name

    model_class, tied = found
    names = set(names)
    out = set()
    for name in names:
        own = current_name(model_class.rules(), name)
        if any(re.search(pattern, own) for pattern in model_class.ignorable()):
            out.add(name)
        elif tied and own in model_class.ties():
            origin = model_class.ties()[own]
            # Base-model checkpoints leave the prefix out.
            if {origin, origin.removeprefix(f"{model_class.base()}.")} & names:
                out.add(name)
    return out


def _model_class(config: Mapping[str, Any]) -> tuple[type[Model], bool] | None:
    from tfcli.models.registry import get_family, read_config

    try:
        parsed = read_config(config)
    except ModelError:
        return None
    family = get_family(parsed.model_type)
    model_class = family.model_class(family.task_of(parsed.architectures))
    return model_class, parsed.tie_word_embeddings
