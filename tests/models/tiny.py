"""A tiny model of every family: its first parity case, at the sizes that a test asks for."""

from __future__ import annotations

from typing import Any

import transformers

from tests.models.case import Case
from tests.models.cases import decoders, earlier, encoders, hybrids, mixtures, recurrent, seq2seq
from tests.models.media_case import MediaCase
from tests.models.media_cases import CASES as MEDIA
from tests.models.media_cases.llava import CLIP, IMAGE, LLAMA
from tests.models.media_cases.qwen2_vl import SETTINGS as QWEN2_VL
from tfcli.models.families.entry import ROOMS
from tfcli.models.loading import build, initialize
from tfcli.models.model import Model
from tfcli.models.registry import FAMILIES, read_config

_GROUPS = (decoders, mixtures, earlier, recurrent, hybrids, encoders, seq2seq)
FIRST: dict[str, Case | MediaCase] = {}
for _case in [*(case for group in _GROUPS for case in group.CASES), *MEDIA]:
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
    },
    # transformers has it, but no class of it by a name of its own.
    "qwen2_vl_vision": QWEN2_VL["vision_config"],
    "multimodal": {
        "text_config": LLAMA,
        "encoders": {"vision": {"encoder_config": CLIP, "token_id": IMAGE}},
    },
}
# Families whose input is a text's ids.
TEXT = [name for name, family in FAMILIES.items() if ROOMS[family.kind] == "text"]


# Families whose config has one for each of two stacks; they are alike in the first case.
STACKED = ("t5gemma",)


def settings(model_type: str) -> dict[str, Any]:
    """The keys that make the family's first case tiny; those of a stack, where it has two."""
    found = OWN[model_type] if model_type in OWN else FIRST[model_type].settings
    return found["decoder"] if model_type in STACKED else found


def whole(model_type: str, flat: dict[str, Any]) -> dict[str, Any]:
    """Such keys as a config.json has them."""
    if model_type not in STACKED:
        return flat
    return {"vocab_size": flat["vocab_size"], "encoder": flat, "decoder": flat}


def content(model_type: str, **changes: Any) -> dict[str, Any]:
    """A whole config.json, as transformers writes it where it has the family."""
    tiny = whole(model_type, settings(model_type) | changes)
    if model_type in OWN:
        return {"model_type": model_type, **tiny}
    return getattr(transformers, FIRST[model_type].config)(**tiny).to_dict()


def tiny_model(model_type: str, task: str | None = None, **changes: Any) -> Model:
    """A model with random weights, in eval mode."""
    return initialize(build(read_config(content(model_type, **changes)), task), seed=1).eval()
