"""Tiny models that look at images, as transformers writes them, and rows for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image, ImageDraw

from tests.models.media_cases import gemma3, llava, qwen2_vl
from tests.processors.joint import KINDS, build
from tests.processors.joint import save as save_processor

# Each turn ends with the EOS.
TEMPLATE = """{{ bos_token }}{% for message in messages %}{{ message.role }}: \
{% if message.content is string %}{{ message.content }}{% else %}\
{% for part in message.content %}{% if part.type == 'image' %}TOKEN{% else %}{{ part.text }}\
{% endif %}{% endfor %}{% endif %}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"""
_CLIP = llava.CLIP | {"image_size": 28, "patch_size": 7}
_LONG = {"max_position_embeddings": 512}
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llava": ("Llava", {"vision_config": _CLIP, "text_config": llava.LLAMA | _LONG}),
    "LlavaNext": (
        "LlavaNext",
        {
            "vision_config": _CLIP,
            "text_config": llava.LLAMA | _LONG,
            "image_grid_pinpoints": KINDS["LlavaNext"][1]["image_grid_pinpoints"],
        },
    ),
    "Gemma3": (
        "Gemma3",
        {
            "vision_config": gemma3.TOWER | {"image_size": 32, "patch_size": 8},
            "text_config": gemma3.TEXT | _LONG,
            "mm_tokens_per_image": 4,
        },
    ),
    "Qwen2VL": (
        "Qwen2VL",
        {
            "vision_config": qwen2_vl.VISION | {"patch_size": 7},
            "text_config": qwen2_vl.TEXT | _LONG,
        },
    ),
}
LOOKING = tuple(_FAMILIES)


def save(kind: str, folder: Path) -> Path:
    """A model with random weights, and the processor that goes with it."""
    settings = {"image_seq_length": 4} if kind == "Gemma3" else {}
    processor = build(kind, **settings)
    if kind == "Gemma3":
        processor.image_processor.size = {"height": 32, "width": 32}
    tokens = KINDS[kind][3]
    place = tokens.get("boi_token", tokens["image_token"])
    processor.chat_template = TEMPLATE.replace("TOKEN", place)
    tokenizer = processor.tokenizer
    name, config = _FAMILIES[kind]
    ids = {key: tokenizer.convert_tokens_to_ids(token) for key, token in tokens.items()}
    named = {
        "Gemma3": {
            "image_token_index": ids["image_token"],
            "boi_token_index": ids.get("boi_token"),
            "eoi_token_index": ids.get("eoi_token"),
        },
        "Qwen2VL": {
            "image_token_id": ids["image_token"],
            "video_token_id": ids.get("video_token"),
        },
    }.get(kind, {"image_token_index": ids["image_token"]})
    text = config["text_config"] | {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    made = getattr(transformers, f"{name}Config")(**config | named | {"text_config": text})
    model = getattr(transformers, f"{name}ForConditionalGeneration")(made)
    model.save_pretrained(folder)
    return save_processor(processor, folder)


def picture(number: int, size: tuple[int, int] = (30, 24)) -> Image.Image:
    """A square of a colour and a place of its own."""
    image = Image.new("RGB", size, (number * 40 % 256, 90, 200 - number * 30 % 200))
    ImageDraw.Draw(image).rectangle([3, 4, 9 + number, 12], fill=(250, number * 50 % 256, 10))
    return image


def rows(folder: Path) -> list[dict[str, Any]]:
    """Conversations with no image, one and two, in a first and in a second turn, in three
    spellings; the images lie beside them."""
    for number in range(4):
        picture(number, (30 + 14 * (number % 2), 24)).save(folder / f"{number}.png")

    def said(role: str, *parts: Any) -> dict[str, Any]:
        entries = [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
        return {"role": role, "content": entries}

    def seen(number: int) -> dict[str, Any]:
        return {"type": "image", "image": f"{number}.png"}

    url = {"type": "image_url", "image_url": {"url": "1.png"}}
    return [
        {"messages": [said("user", seen(0), "What is it?"), said("assistant", "a cat on a mat")]},
        {
            "messages": [
                said("user", "Look:", url, "and", seen(2)),
                said("assistant", "a house"),
                said("user", "And this?", seen(3)),
                said("assistant", "another dog"),
            ]
        },
        {"messages": [said("user", "Who ran?"), said("assistant", "the dog ran")]},
        {
            "images": ["3.png"],
            "messages": [
                {"role": "user", "content": "<image>in winter?"},
                {"role": "assistant", "content": "this old house"},
            ],
        },
    ]
