"""LLaVA-NeXT."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, next_words, words
from tests.models.media_cases.llava import CLIP, IMAGE, LLAMA
from tests.models.media_cases.siglip import VISION

PINPOINTS = [[16, 32], [32, 16], [32, 32], [16, 48]]
MISTRAL = {key: value for key, value in LLAMA.items() if key != "model_type"} | {
    "model_type": "mistral",
    "sliding_window": 20,
}
SIGLIP = VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}
# Height and width of an image -> its tiles, the whole among them, and its features with the ends
# of rows: 4 of the whole, then patches but for the border.
SIZES = {(30, 20): (5, 4 + 4 * 3), (12, 40): (4, 4 + 2 * 7)}


def with_tiles(random: torch.Generator, rows: int) -> Inputs:
    """A text of each row around an image of a shape of its own."""
    sizes = [list(SIZES)[row % len(SIZES)] for row in range(rows)]
    length = max(count for _, count in SIZES.values()) + 8
    ids = words(IMAGE, (rows, length), random)
    pixels = torch.zeros(rows, max(tiles for tiles, _ in SIZES.values()), 3, 16, 16)
    for row, size in enumerate(sizes):
        tiles, count = SIZES[size]
        ids[row, 2 + row : 2 + row + count] = IMAGE
        pixels[row, :tiles] = torch.randn(tiles, 3, 16, 16, generator=random)
    return {"input_ids": ids, "pixel_values": pixels, "image_sizes": torch.tensor(sizes)}


def _next(name: str, inputs: Any = with_tiles, **changes: Any) -> MediaCase:
    settings = {
        "vision_config": CLIP,
        "text_config": LLAMA,
        "image_token_index": IMAGE,
        "image_grid_pinpoints": PINPOINTS,
    }
    return MediaCase(
        f"llava_next-{name}",
        "image-text-to-text",
        "LlavaNextForConditionalGeneration",
        "LlavaNextConfig",
        settings | changes,
        inputs,
        outputs=("logits", "image_hidden_states"),
        labels=next_words,
        cached=True,
    )


CASES = [
    _next("clip-mistral", text_config=MISTRAL),
    _next(
        "siglip-llama",
        vision_config=SIGLIP,
        vision_feature_select_strategy="full",
        vision_feature_layer=[-1, 1],
        multimodal_projector_bias=False,
    ),
]
