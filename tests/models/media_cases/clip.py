"""CLIP: each tower, both, and a classifier on one."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, classes, pixels, words

END = 60
VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 8,
    "projection_dim": 12,
    "initializer_factor": 3.0,
}
TEXT = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 24,
    "projection_dim": 12,
    "bos_token_id": 0,
    "eos_token_id": END,
    "initializer_factor": 3.0,
}
WHOLE = {
    "text_config": TEXT,
    "vision_config": VISION,
    "projection_dim": 12,
    "initializer_factor": 3.0,
}


def texts(random: torch.Generator, rows: int, padding: int = 1) -> Inputs:
    """Texts of unlike lengths, each with its end, and padding after it."""
    ids = words(END, (rows, 12), random)
    mask = torch.ones_like(ids)
    for row in range(rows):
        ids[row, 8 + row] = END
        ids[row, 9 + row :] = padding
        mask[row, 9 + row :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def pairs(random: torch.Generator, rows: int) -> Inputs:
    return {**texts(random, rows), **pixels(16)(random, rows)}


def larger(random: torch.Generator, rows: int) -> Inputs:
    """Images of another size than the table of positions is for, and not square."""
    images = torch.randn(rows, 3, 26, 40, generator=random)
    return {"pixel_values": images, "interpolate_pos_encoding": True}


STATES = ("last_hidden_state", "pooler_output")


def _vision(name: str, inputs: Any, **changes: Any) -> MediaCase:
    return MediaCase(
        f"clip-vision-{name}",
        "embedding",
        "CLIPVisionModel",
        "CLIPVisionConfig",
        VISION | changes,
        inputs,
        outputs=STATES,
    )


def _text(name: str, **changes: Any) -> MediaCase:
    return MediaCase(
        f"clip-text-{name}",
        "embedding",
        "CLIPTextModel",
        "CLIPTextConfig",
        TEXT | changes,
        texts,
        outputs=STATES,
    )


CASES = [
    _vision("plain", pixels(16)),
    _vision("resized", larger, hidden_act="gelu", num_channels=3),
    _text("old-end", eos_token_id=2),
    _text("plain"),
    MediaCase(
        "clip-vision-projection",
        "projection",
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        VISION,
        pixels(16),
        outputs=("image_embeds", "last_hidden_state"),
    ),
    MediaCase(
        "clip-text-projection",
        "projection",
        "CLIPTextModelWithProjection",
        "CLIPTextConfig",
        TEXT,
        texts,
        outputs=("text_embeds", "last_hidden_state"),
    ),
    MediaCase(
        "clip",
        "contrastive",
        "CLIPModel",
        "CLIPConfig",
        WHOLE,
        pairs,
        outputs=("logits_per_image", "logits_per_text", "image_embeds", "text_embeds"),
        asks={"return_loss": True},
        hidden_states=False,
    ),
    MediaCase(
        "clip-classifier",
        "image-classification",
        "CLIPForImageClassification",
        "CLIPConfig",
        WHOLE | {"num_labels": 5},
        pixels(16),
        labels=classes(5),
    ),
]
