"""A folder that transformers wrote, a picture and a text: processor and model, beside theirs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from tests.models.parity import assert_close
from tests.processors.images.pictures import drawn
from tests.processors.joint import KINDS, build, save
from tfcli.checkpoints.folder import load_model
from tfcli.processors.load import load_processor

pytestmark = pytest.mark.families

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
GEMMA = LLAMA | {
    "model_type": "gemma",
    "num_key_value_heads": 1,
    "head_dim": 12,
    "bos_token_id": None,
    "eos_token_id": None,
}
GEMMA3 = GEMMA | {"model_type": "gemma3_text", "sliding_window": 4, "query_pre_attn_scalar": 16}
TOWER = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
}
CLIP = TOWER | {"model_type": "clip_vision_model", "initializer_factor": 3.0}
SIGLIP = TOWER | {"model_type": "siglip_vision_model", "vision_use_head": False}
QWEN2_VL = {
    "depth": 2,
    "embed_dim": 32,
    "hidden_size": 32,
    "num_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 7,
    "initializer_range": 0.2,
}
SECTIONS = {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [1, 2, 1]}
# Kind of processor -> settings of the processor, and the model's config.
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Llava": ({}, {"text_config": LLAMA, "vision_config": CLIP}),
    "LlavaNext": (
        {},
        {
            "text_config": LLAMA | {"model_type": "mistral"},
            "vision_config": CLIP,
            "image_grid_pinpoints": KINDS["LlavaNext"][1]["image_grid_pinpoints"],
        },
    ),
    "Gemma3": (
        {"image_seq_length": 4},
        {"text_config": GEMMA3, "vision_config": SIGLIP, "mm_tokens_per_image": 4},
    ),
    "PaliGemma": (
        {},
        {
            "text_config": GEMMA,
            "vision_config": SIGLIP | {"patch_size": 14},
            "projection_dim": 32,
        },
    ),
    "Qwen2VL": (
        {},
        {
            "text_config": {k: v for k, v in LLAMA.items() if k != "model_type"}
            | {"rope_parameters": SECTIONS},
            "vision_config": QWEN2_VL,
        },
    ),
}
every_kind = pytest.mark.parametrize("kind", MODELS)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Kind -> a folder with a model, a tokenizer and a processor, and their processor and model."""
    made = {}

    def folder(kind):
        if kind not in made:
            path = tmp_path_factory.mktemp(kind)
            settings, config = MODELS[kind]
            processor = build(kind, side="left", **settings)
            tokens = {
                name: processor.tokenizer.convert_tokens_to_ids(token)
                for name, token in KINDS[kind][3].items()
            }
            text = config["text_config"] | {"vocab_size": len(processor.tokenizer)}
            ids = {
                f"{name}_id" if kind == "Qwen2VL" else f"{name}_index": token
                for name, token in tokens.items()
            }
            torch.manual_seed(0)
            whole = getattr(transformers, f"{kind}Config")(**config | {"text_config": text} | ids)
            model = getattr(transformers, f"{kind}ForConditionalGeneration")(whole).eval()
            with torch.no_grad():  # Gemma 3's projector begins at 0
                for value in model.parameters():
                    value.add_(torch.randn_like(value) * 0.05)
            model.save_pretrained(path)
            made[kind] = save(processor, path), processor, model
        return made[kind]

    return folder


def mark(kind):
    tokens = KINDS[kind][3]
    return tokens.get("boi_token", tokens["image_token"])


@every_kind
def test_pictures_and_texts_to_logits(kind, folder_of):
    folder, processor, model = folder_of(kind)
    texts = [f"{mark(kind)}a name", f"{mark(kind)} An object with many names. What is it?"]
    images = [[drawn(50, 30)], [drawn(20, 60)]]
    inputs = load_processor(folder)(images=images, text=texts)
    theirs = processor(images=images, text=texts, padding=True, return_tensors="pt")
    real = theirs["attention_mask"].bool()
    assert not real.all()
    with torch.no_grad():
        found = load_model(folder, task=None).eval()(**inputs)
        expected = model(**theirs)
    assert_close(found.logits[real], expected.logits[real])


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "PaliGemma"])
def test_texts_alone(kind, folder_of):
    folder, processor, model = folder_of(kind)
    with torch.no_grad():
        found = load_model(folder, task=None).eval()(**load_processor(folder)(text="a name"))
        expected = model(**processor(text="a name", return_tensors="pt"))
    assert_close(found.logits, expected.logits)


def test_an_answer_to_be_learned(folder_of):
    folder, processor, model = folder_of("PaliGemma")
    given = {"images": drawn(50, 30), "text": "a name", "suffix": "of an object"}
    found = load_model(folder, task=None)(**load_processor(folder)(**given))
    expected = model(**processor(**given, return_tensors="pt"))
    torch.testing.assert_close(found.loss, expected.loss)
