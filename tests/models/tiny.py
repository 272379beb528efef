"""A tiny model of every family: its first parity case, at the sizes that a test asks for."""

from __future__ import annotations

from typing import Any

import transformers

from tests.models.case import Case
from tests.models.cases import decoders, earlier, encoders, mixtures, recurrent, seq2seq
from tfcli.models.loading import build, initialize
from tfcli.models.model import Model
from tfcli.models.registry import read_config

_GROUPS = (decoders, mixtures, earlier, recurrent, encoders, seq2seq)
FIRST: dict[str, Case] = {}
for _case in (case for group in _GROUPS for case in group.CASES):
    FIRST.setdefault(getattr(transformers, _case.config).model_type, _case)

# Families that transformers does not have.
OWN: dict[str, dict[str, Any]] = {
    "glm": {
        "vocab_size": 61,
        "hidden_size": 32,
        "num_layers": 2,
        "num_attention_heads": 4,
        "max_sequence_length": 32,
        "initializer_range": 0.2,
    }
}


def settings(model_type: str) -> dict[str, Any]:
    """The keys that make the family's first case tiny."""
    return OWN[model_type] if model_type in OWN else FIRST[model_type].settings


def content(model_type: str, **changes: Any) -> dict[str, Any]:
    """A whole config.json, as transformers writes it where it has the family."""
    tiny = settings(model_type) | changes
    if model_type in OWN:
        return {"model_type": model_type, **tiny}
    return getattr(transformers, FIRST[model_type].config)(**tiny).to_dict()


def tiny_model(model_type: str, task: str | None = None, **changes: Any) -> Model:
    """A model with random weights, in eval mode."""
    return initialize(build(read_config(content(model_type, **changes)), task), seed=1).eval()
