"""Folders of joint processors, as transformers writes them, with a tiny tokenizer."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from tests.conftest import SENTENCES
from tests.processors.images.parity import theirs
from tfcli.processors.features import Features
from tfcli.tokenizers.run import train_bpe

SQUARE = {"height": 28, "width": 28}
SHORT = {"size": {"shortest_edge": 28}, "crop_size": SQUARE}
TEMPLATE = """{{ bos_token }}{% for message in messages %}{{ message.role }}: \
{% if message.content is string %}{{ message.content }}{% else %}\
{% for part in message.content %}{% if part.type == 'image' %}TOKEN{% elif part.type == 'video' %}\
<|video_pad|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"""

# Name -> image processor and its settings, settings of the processor, names of tokens.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "CLIP": ("CLIP", SHORT, {}, {}),
    "Siglip": ("Siglip", {"size": SQUARE}, {}, {}),
    "Siglip2": ("Siglip2", {"patch_size": 16, "max_num_patches": 256}, {}, {}),
    "Llava": (
        "CLIP",
        SHORT,
        {
            "patch_size": 7,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
        {"image_token": "<image>"},
    ),
    "LlavaNext": (
        "LlavaNext",
        SHORT | {"image_grid_pinpoints": [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]},
        {
            "patch_size": 7,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
        {"image_token": "<image>"},
    ),
    "Gemma3": (
        "Gemma3",
        {"size": SQUARE},
        {"image_seq_length": 5},
        {
            "boi_token": "<start_of_image>",
            "image_token": "<image_soft_token>",
            "eoi_token": "<end_of_image>",
        },
    ),
    "Qwen2VL": (
        "Qwen2VL",
        {"patch_size": 7, "size": {"shortest_edge": 400, "longest_edge": 8000}},
        {},
        {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    ),
    "PaliGemma": (
        "Siglip",
        {"size": SQUARE, "image_seq_length": 4},
        {},
        {"image_token": "<image>"},
    ),
}


@cache
def backend(both: bool) -> str:
    """A tokenizer of bytes as JSON; `both`: a BOS before and an EOS behind each text."""
    made = train_bpe(SENTENCES, 300)
    made.add_special_tokens(["<bos>", "<eos>", "<pad>"])
    ids = [(token, made.token_to_id(token)) for token in ("<bos>", "<eos>")]
    end = " <eos>" if both else ""
    made.post_processor = processors.TemplateProcessing(
        single=f"<bos> $A{end}", pair=f"<bos> $A{end} <bos>:1 $B:1{end and end + ':1'}",
        special_tokens=ids,
    )  # fmt: skip
    return made.to_str()


def tokenizer(tokens: dict[str, str], both: bool, side: str) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(backend(both)),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        padding_side=side,
        model_max_length=64,
        extra_special_tokens=tokens,
    )


def build(kind: str, *, side: str = "right", **settings: Any) -> Any:
    """transformers' processor. Qwen2-VL's has no video processor, which needs torchvision."""
    name, image_settings, own, tokens = KINDS[kind]
    image_processor = theirs(f"{name}ImageProcessor", **image_settings)
    text = tokenizer(tokens, kind in ("CLIP", "Siglip"), side)
    token = tokens.get("boi_token", tokens.get("image_token", ""))
    cls = getattr(transformers, f"{kind}Processor")
    template = {"chat_template": TEMPLATE.replace("TOKEN", token)} if token else {}
    if kind != "Qwen2VL":
        made = cls(image_processor, text, **own | settings)
    else:
        made = cls.__new__(cls)
        made.image_processor, made.tokenizer = image_processor, text
        made.image_token, made.video_token = tokens["image_token"], tokens["video_token"]
        made.image_token_id, made.video_token_id = text.convert_tokens_to_ids(
            [made.image_token, made.video_token]
        )
    made.chat_template = template.get("chat_template")
    return made


def save(processor: Any, folder: Path) -> Path:
    """Write it as transformers does."""
    if hasattr(processor, "video_processor") or "Qwen2VL" not in type(processor).__name__:
        processor.save_pretrained(folder)
        return folder
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    config = folder / "preprocessor_config.json"
    text = config.read_text()
    config.write_text(text.replace("{", '{\n  "processor_class": "Qwen2VLProcessor",', 1))
    (folder / "chat_template.jinja").write_text(processor.chat_template)
    return folder


def assert_same(found: Features, expected: Any) -> None:
    """The same names, ids and shapes; numbers with fractions within 1e-4."""
    expected = dict(expected)
    if "labels" not in found and (expected.get("labels", torch.tensor(-100)) == -100).all():
        expected.pop("labels", None)  # PaliGemma's, without an answer: there is nothing to learn
    assert set(found) == set(expected)
    for name in expected:
        assert found[name].shape == expected[name].shape, name
        torch.testing.assert_close(
            found[name], expected[name], rtol=0, atol=1e-4, check_dtype=False, msg=name
        )
