"""LLaVA."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, next_words, words

IMAGE = 60
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 8,
    "initializer_factor": 3.0,
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}


def with_images(tokens: int) -> Any:
    """A text of each row around an image, which takes so many tokens."""

    def make(random: torch.Generator, rows: int) -> Inputs:
        ids = words(IMAGE, (rows, tokens + 9), random)
        for row in range(rows):  # images stand at unlike places
            ids[row, 2 + row : 2 + row + tokens] = IMAGE
        return {"input_ids": ids, "pixel_values": torch.randn(rows, 3, 16, 16, generator=random)}

    return make


def _llava(name: str, tokens: int = 4, **changes: Any) -> MediaCase:
    settings = {"vision_config": CLIP, "text_config": LLAMA, "image_token_index": IMAGE}
    return MediaCase(
        f"llava-{name}",
        "image-text-to-text",
        "LlavaForConditionalGeneration",
        "LlavaConfig",
        settings | changes,
        with_images(tokens),
        outputs=("logits", "image_hidden_states"),
        labels=next_words,
        cached=True,
    )


CASES = [
    _llava("clip-llama"),
    _llava("full", tokens=5, vision_feature_select_strategy="full", vision_feature_layer=-1),
    _llava("layers", vision_feature_layer=[-2, 1], multimodal_projector_bias=False),
    _llava("tied", tie_word_embeddings=True, text_config=LLAMA | {"tie_word_embeddings": True}),
    _llava("qwen2", text_config=LLAMA | {"model_type": "qwen2"}),
]
