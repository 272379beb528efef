"""What headers of safetensors files say where torchao's tensors are flattened in them.

For each weight a text under its name, JSON of its class and its settings, and a list of the names.

Source: torchao 0.18, `prototype/safetensors/safetensors_support.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_NAMES = "tensor_names"


def texts_of(told: Mapping[str, Mapping[str, Any]], others: Iterable[str]) -> dict[str, str]:
    """The texts of a header.

    Args:
        told: name of each weight that is flattened -> its class and its settings.
        others: names of the tensors that are stored as they are.
    """
    found = {name: json.dumps({"_type": "Tensor"}) for name in others}
    found |= {name: json.dumps(said) for name, said in told.items()}
    return {**found, _NAMES: json.dumps(list(found))}


def without_told(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts of a header without those that say what was flattened into its tensors."""
    try:
        names = json.loads(texts[_NAMES])
    except (KeyError, ValueError, RecursionError):
        return dict(texts)
    told = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
    return {name: text for name, text in texts.items() if name not in told | {_NAMES}}
