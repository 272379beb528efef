"""SigLIP 2: images of unlike shapes as patches, with padding."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, classes
from tests.models.media_cases.clip import STATES
from tests.models.media_cases.siglip import COMPARED, TEXT, masked, texts
from tests.models.media_cases.siglip import VISION as SIGLIP

PATCH = SIGLIP["patch_size"]
VISION = {name: value for name, value in SIGLIP.items() if name != "image_size"} | {
    "num_patches": 16
}
SHAPES = [[2, 5], [4, 3], [4, 4], [1, 2]]


def patches(random: torch.Generator, rows: int) -> Inputs:
    """Images of 2 x 5, 4 x 3 and more patches, padded to 18."""
    shapes = torch.tensor(SHAPES[:rows])
    count = shapes.prod(-1, keepdim=True)
    return {
        "pixel_values": torch.randn(rows, 18, 3 * PATCH * PATCH, generator=random),
        "pixel_attention_mask": (torch.arange(18) < count).long(),
        "spatial_shapes": shapes,
    }


def pairs(random: torch.Generator, rows: int) -> Inputs:
    return {**texts(random, rows), **patches(random, rows)}


def _tower(name: str, kind: str, settings: dict[str, Any], inputs: Any) -> MediaCase:
    pools = settings.get("vision_use_head", True)
    return MediaCase(
        f"siglip2-{name}",
        "embedding",
        f"Siglip2{kind}Model",
        f"Siglip2{kind}Config",
        settings,
        inputs,
        outputs=STATES if pools else STATES[:1],
    )


WHOLE = {"text_config": TEXT, "vision_config": VISION}
CASES = [
    _tower("vision", "Vision", VISION, patches),
    _tower("vision-states", "Vision", VISION | {"vision_use_head": False}, patches),
    _tower("text", "Text", TEXT, masked),
    MediaCase(
        "siglip2",
        "contrastive",
        "Siglip2Model",
        "Siglip2Config",
        WHOLE,
        pairs,
        outputs=COMPARED,
        asks={"return_loss": True},
        hidden_states=False,
    ),
    MediaCase(
        "siglip2-classifier",
        "image-classification",
        "Siglip2ForImageClassification",
        "Siglip2Config",
        WHOLE | {"num_labels": 5},
        patches,
        labels=classes(5),
    ),
]
