"""Models that answer texts about images."""

from __future__ import annotations

from tfcli.models.families.entry import HEADS, family

_ANSWERS_ON_IMAGES = {"image-text-to-text": f"{HEADS}.image_text_to_text:ImageTextToText"}
VISION_LANGUAGE = (
    family("llava", "Llava", "vision-language", _ANSWERS_ON_IMAGES, "any tower and decoder"),
    family(
        "multimodal",
        "Multimodal",
        "vision-language",
        {"image-text-to-text": "multimodal.modular:MultimodalLM"},
        "any encoders and decoder, put together by tfcli compose",
        config="modular:MultimodalConfig",
        backbone="modular:ModularModel",
    ),
    family(
        "llava_next",
        "LlavaNext",
        "vision-language",
        _ANSWERS_ON_IMAGES,
        "any tower and decoder",
        "images of any resolution, in tiles",
    ),
    family(
        "gemma3",
        "Gemma3",
        "vision-language",
        _ANSWERS_ON_IMAGES,
        "SigLIP and Gemma 3",
        "patches are pooled",
        "features of an image see each other",
    ),
    family(
        "paligemma",
        "PaliGemma",
        "vision-language",
        _ANSWERS_ON_IMAGES,
        "SigLIP and Gemma or Gemma 2",
        "image and prompt see each other",
    ),
    family(
        "qwen2_vl",
        "Qwen2VL",
        "vision-language",
        _ANSWERS_ON_IMAGES,
        "images and videos of any size",
        "positions of time, height and width",
    ),
)
