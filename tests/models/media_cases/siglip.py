"""SigLIP: each tower, both, and a classifier on one."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, classes, pixels, words
from tests.models.media_cases.clip import STATES, larger

VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 24,
    "projection_size": 24,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
WHOLE = {"text_config": TEXT, "vision_config": VISION}
COMPARED = ("logits_per_image", "logits_per_text", "image_embeds", "text_embeds")


def texts(random: torch.Generator, rows: int) -> Inputs:
    """Texts with padding that is not masked, as in training."""
    ids = words(61, (rows, 12), random)
    ids[0, 7:] = 1
    return {"input_ids": ids}


def masked(random: torch.Generator, rows: int) -> Inputs:
    inputs = texts(random, rows)
    return {**inputs, "attention_mask": (inputs["input_ids"] != 1).long()}


def pairs(random: torch.Generator, rows: int) -> Inputs:
    return {**texts(random, rows), **pixels(16)(random, rows)}


def _tower(name: str, kind: str, settings: dict[str, Any], inputs: Any) -> MediaCase:
    pools = settings.get("vision_use_head", True)
    return MediaCase(
        f"siglip-{name}",
        "embedding",
        f"Siglip{kind}Model",
        f"Siglip{kind}Config",
        settings,
        inputs,
        outputs=STATES if pools else STATES[:1],
    )


CASES = [
    _tower("vision", "Vision", VISION, pixels(16)),
    _tower("vision-resized", "Vision", VISION | {"vision_use_head": False}, larger),
    _tower("text", "Text", TEXT, texts),
    _tower("text-masked", "Text", TEXT | {"projection_size": None}, masked),
    MediaCase(
        "siglip",
        "contrastive",
        "SiglipModel",
        "SiglipConfig",
        WHOLE,
        pairs,
        outputs=COMPARED,
        asks={"return_loss": True},
        hidden_states=False,
    ),
    MediaCase(
        "siglip-classifier",
        "image-classification",
        "SiglipForImageClassification",
        "SiglipConfig",
        WHOLE | {"num_labels": 5},
        pixels(16),
        labels=classes(5),
    ),
]
