"""ViT, DeiT and DINOv2, with each of their heads."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, classes, pixels
from tests.models.media_cases.clip import STATES, larger

VIT = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 4,
    "encoder_stride": 4,
    "initializer_range": 0.2,
}
DINO = {name: VIT[name] for name in VIT if name not in ("intermediate_size", "encoder_stride")}
GREY = {"hidden_act": "gelu_new", "qkv_bias": False, "num_channels": 1}


def any_size(random: torch.Generator, rows: int) -> Inputs:
    return {"pixel_values": larger(random, rows)["pixel_values"]}


def hidden(random: torch.Generator, rows: int) -> Inputs:
    """Images some of whose patches are hidden."""
    masked = torch.rand((rows, 16), generator=random) < 0.4
    return {**pixels(16)(random, rows), "bool_masked_pos": masked}


def _case(
    family: str,
    name: str,
    task: str,
    suffix: str,
    inputs: Any,
    outputs: tuple[str, ...] = ("logits",),
    **more: Any,
) -> MediaCase:
    labels = more.pop("labels", None)
    settings = (DINO if family.startswith("Dino") else VIT) | more
    return MediaCase(
        f"{family.lower()}-{name}",
        task,
        f"{family}{suffix}",
        f"{family}Config",
        settings,
        inputs,
        outputs=outputs,
        labels=labels,
    )


def _tower(family: str, name: str, inputs: Any, **more: Any) -> MediaCase:
    return _case(family, name, "embedding", "Model", inputs, STATES, **more)


def _classifier(family: str, name: str, inputs: Any, **more: Any) -> MediaCase:
    task, suffix = "image-classification", "ForImageClassification"
    return _case(family, name, task, suffix, inputs, labels=classes(5), num_labels=5, **more)


def _maps(family: str, name: str, **more: Any) -> MediaCase:
    return _case(family, name, "feature-maps", "Backbone", any_size, ("feature_maps",), **more)


def _fills_in(family: str) -> MediaCase:
    task, suffix = "masked-image-modeling", "ForMaskedImageModeling"
    return _case(family, "fills-in", task, suffix, hidden, ("reconstruction", "loss"))


CASES = [
    _tower("ViT", "plain", pixels(16)),
    _tower("ViT", "grey", pixels(16, 1), **GREY, pooler_output_size=10, pooler_act="relu"),
    _classifier("ViT", "classifier", larger),
    _fills_in("ViT"),
    _tower("DeiT", "plain", pixels(16)),
    _classifier("DeiT", "classifier", larger),
    _case(
        "DeiT",
        "teacher",
        "distilled-image-classification",
        "ForImageClassificationWithTeacher",
        pixels(16),
        ("logits", "cls_logits", "distillation_logits"),
        num_labels=5,
    ),
    _fills_in("DeiT"),
    _tower("Dinov2", "plain", pixels(16)),
    _tower("Dinov2", "hidden", hidden, layerscale_value=0.5),
    _tower("Dinov2", "gated", any_size, use_swiglu_ffn=True, use_mask_token=False),
    _classifier("Dinov2", "classifier", pixels(16, 1), mlp_ratio=2, **GREY),
    _maps("Dinov2", "maps", out_features=["stem", "stage2"]),
    _maps("Dinov2", "maps-raw", out_indices=[-2, -1], apply_layernorm=False),
    _maps("Dinov2", "states", reshape_hidden_states=False),
    _tower("Dinov2WithRegisters", "plain", any_size),
    _classifier("Dinov2WithRegisters", "classifier", pixels(8), num_register_tokens=2),
    _maps("Dinov2WithRegisters", "maps", out_features=["stage1", "stage3"]),
]
