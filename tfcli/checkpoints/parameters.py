"""Views whose tensors have the names of the parameters in memory.

Checkpoints may leave the body's prefix out (GPT-2 on the hub), spell old names, or hold masks that
models compute. Containers that a program reads straight into a model need the model's own names.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, WorkError

if TYPE_CHECKING:
    from tfcli.models.model import Model


def as_parameters(view: Checkpoint) -> Checkpoint:
    """A view by the names of transformers' `state_dict()`, without what no model needs.

    That of a family that is not known, or with a setting that is not supported, stays as it is.

    Raises:
        WorkError: two tensors of one name.
    """
    model = _built(view)
    if model is None:
        return view
    from tfcli.models.rules import current_name

    rules, prefix, bare = model.rules(), f"{model.base()}.", model.bare()
    stored = {model.place_of(name).name for name in model.state_dict()}
    patterns = model.ignorable()
    tensors: dict[str, TensorEntry] = {}
    unused = dict(view.unused)
    for name, tensor in view.tensors.items():
        spelt = current_name(rules, name)
        whole = next((one for one in (spelt, prefix + spelt) if one in stored), None)
        if whole is None:
            reason = next((why for odd, why in patterns.items() if re.search(odd, spelt)), None)
            if reason is not None:
                unused[name] = reason
                continue
            whole = name
        elif bare:
            whole = whole.removeprefix(prefix)
        if whole in tensors:
            first = tensors[whole].sources[0]
            raise WorkError(f"{short(first)} and {short(name)} are one tensor of the model")
        tensors[whole] = dataclasses.replace(tensor, name=whole)
    return dataclasses.replace(view, tensors=tensors, unused=unused)


def _built(view: Checkpoint) -> Model | None:
    """The model without memory; None if the config is not understood."""
    from tfcli.models.loading import build
    from tfcli.models.registry import read_config

    try:
        return build(read_config(view.config), at_most=view.most_values)
    except ModelError:
        return None
