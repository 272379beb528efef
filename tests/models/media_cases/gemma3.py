"""Gemma 3 with its tower."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, next_words, words
from tests.models.media_cases.siglip import VISION

IMAGE = 70  # behind the table's last row, as in released models
VOCABULARY = 61
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "sliding_window": 3,  # less than an image
    "sliding_window_pattern": 3,
    "query_pre_attn_scalar": 16,
    "initializer_range": 0.2,
}
TOWER = VISION | {"image_size": 32, "vision_use_head": False}
TOKENS = 4  # of an image: squares of 2 x 2 patches


def with_images(random: torch.Generator, rows: int) -> Inputs:
    """Two images in the first row, one beside the other; one in each of the others."""
    ids = words(VOCABULARY, (rows, 20), random)
    for row in range(rows):
        ids[row, 3 + row : 3 + row + TOKENS] = IMAGE
    ids[0, 10 : 10 + TOKENS] = IMAGE
    pixels = torch.randn(rows + 1, 3, 32, 32, generator=random)
    types = (ids == IMAGE).long()
    return {"input_ids": ids, "pixel_values": pixels, "token_type_ids": types}


def causal(random: torch.Generator, rows: int) -> Inputs:
    """Without types, images are read as texts are."""
    inputs = with_images(random, rows)
    del inputs["token_type_ids"]
    return inputs


def text(random: torch.Generator, rows: int) -> Inputs:
    return {"input_ids": words(VOCABULARY, (rows, 12), random)}


def _gemma3(name: str, inputs: Any, **changes: Any) -> MediaCase:
    settings = {
        "text_config": TEXT,
        "vision_config": TOWER,
        "mm_tokens_per_image": TOKENS,
        "image_token_index": IMAGE,
        "boi_token_index": 58,
        "eoi_token_index": 59,
    }
    return MediaCase(
        f"gemma3-{name}",
        "image-text-to-text",
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        settings | changes,
        inputs,
        outputs=("logits",) if inputs is text else ("logits", "image_hidden_states"),
        labels=labels,
        cached=inputs in (with_images, text),
    )


def labels(random: torch.Generator, inputs: Inputs) -> torch.Tensor:
    """Words, and never what stands for an image."""
    found = next_words(random, inputs)
    return found.masked_fill(found == IMAGE, -100)


CASES = [
    _gemma3("images", with_images),
    _gemma3("causal", causal, tie_word_embeddings=False),
    _gemma3("text", text),
]
