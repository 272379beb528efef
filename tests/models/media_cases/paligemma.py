"""PaliGemma 1 and 2."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, words
from tests.models.media_cases.siglip import VISION

IMAGE = 70  # behind the table's last row
VOCABULARY = 61
TOKENS = 4  # patches of an image
ANSWER = 5
GEMMA = {
    "model_type": "gemma",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
GEMMA2 = GEMMA | {
    "model_type": "gemma2",
    "num_key_value_heads": 2,
    "sliding_window": 4,
    "query_pre_attn_scalar": 16,
}
TOWER = VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}


def asked(random: torch.Generator, rows: int) -> Inputs:
    """Images, then a prompt: all of it a prefix."""
    ids = words(VOCABULARY, (rows, TOKENS + 8), random)
    ids[:, :TOKENS] = IMAGE
    pixels = torch.randn(rows, 3, 16, 16, generator=random)
    return {"input_ids": ids, "pixel_values": pixels, "token_type_ids": torch.zeros_like(ids)}


def answered(random: torch.Generator, rows: int) -> Inputs:
    """The same with an answer, as in training."""
    inputs = asked(random, rows)
    inputs["token_type_ids"][:, -ANSWER:] = 1
    return inputs


def labels(random: torch.Generator, inputs: Inputs) -> torch.Tensor:
    """The answer."""
    found = inputs["input_ids"].clone()
    found[:, :-ANSWER] = -100
    return found


def _paligemma(name: str, inputs: Any, **changes: Any) -> MediaCase:
    settings = {
        "text_config": GEMMA,
        "vision_config": TOWER,
        "image_token_index": IMAGE,
        "projection_dim": 32,
        "hidden_size": 32,
    }
    return MediaCase(
        f"paligemma-{name}",
        "image-text-to-text",
        "PaliGemmaForConditionalGeneration",
        "PaliGemmaConfig",
        settings | changes,
        inputs,
        outputs=("logits", "image_hidden_states"),
        labels=labels,
        cached=inputs is answered,
        attention="eager",  # Gemma 2 has no other there
    )


CASES = [
    _paligemma("gemma", answered),
    _paligemma("gemma2", answered, text_config=GEMMA2),
    _paligemma("prefix", asked, text_config=GEMMA2, tie_word_embeddings=False),
]
