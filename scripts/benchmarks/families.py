"""Time a family of about 100 M parameters beside transformers: families.py FAMILY ROUNDS

Both sides in one process with the same weights, in turn, so that a machine that slows down does
so for both. float32, the same attention backend; texts are 4 x 128 tokens, images 4, recordings 2.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch
import transformers
from transformers.core_model_loading import revert_weight_conversion

from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config

BATCH, LENGTH = 4, 128
_LLAMA = {
    "vocab_size": 16000,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "pad_token_id": None,
}
# name -> config class, changes, model class, task, backend. transformers' gemma2 has its soft caps
# in the eager backend only.
FAMILIES: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    "llama": ("LlamaConfig", _LLAMA, "AutoModelForCausalLM", "causal-lm", "sdpa"),
    "qwen3": ("Qwen3Config", _LLAMA, "AutoModelForCausalLM", "causal-lm", "sdpa"),
    "gemma2": (
        "Gemma2Config",
        _LLAMA | {"query_pre_attn_scalar": 64, "sliding_window": 64},
        "AutoModelForCausalLM",
        "causal-lm",
        "eager",
    ),
    "bert": ("BertConfig", {}, "AutoModelForMaskedLM", "masked-lm", "sdpa"),
    "t5": (
        "T5Config",
        {
            "d_model": 640,
            "d_ff": 2560,
            "num_layers": 8,
            "num_heads": 10,
            "d_kv": 64,
            "decoder_start_token_id": 0,
        },
        "AutoModelForSeq2SeqLM",
        "seq2seq-lm",
        "eager",
    ),
    "vit": ("ViTConfig", {}, "AutoModelForImageClassification", "image-classification", "sdpa"),
    "clip": ("CLIPConfig", {}, "CLIPModel", "contrastive", "sdpa"),
    "whisper": (
        "WhisperConfig",
        {
            "d_model": 512,
            "encoder_layers": 8,
            "decoder_layers": 8,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "decoder_ffn_dim": 2048,
        },
        "WhisperForConditionalGeneration",
        "speech-seq2seq",
        "sdpa",
    ),
    "llava": (
        "LlavaConfig",
        {
            "text_config": _LLAMA | {"model_type": "llama", "num_hidden_layers": 8},
            "vision_config": {
                "model_type": "clip_vision_model",
                "hidden_size": 512,
                "intermediate_size": 2048,
                "num_hidden_layers": 8,
                "num_attention_heads": 8,
                "image_size": 224,
                "patch_size": 16,
            },
            "image_token_index": 4,
        },
        "LlavaForConditionalGeneration",
        "image-text-to-text",
        "sdpa",
    ),
}
FRAMES = 3000  # of a window of 30 s


def inputs_of(name: str, config: Any) -> tuple[dict[str, Any], int]:
    """What both sides are given, and what of it is counted: tokens, images or recordings."""
    if name == "whisper":
        ids = torch.randint(5, config.vocab_size, (2, 64))
        return {"input_features": torch.randn(2, 80, FRAMES), "labels": ids}, 2
    pixels = torch.randn(BATCH, 3, 224, 224)
    if name == "vit":
        return {"pixel_values": pixels, "labels": torch.zeros(BATCH, dtype=torch.long)}, BATCH
    if name == "clip":
        ids = torch.randint(5, 1000, (BATCH, 77))
        ids[:, -1] = config.text_config.eos_token_id
        return {"input_ids": ids, "pixel_values": pixels, "return_loss": True}, BATCH
    if name == "llava":
        patches = (224 // config.vision_config.patch_size) ** 2
        words = torch.randint(5, config.text_config.vocab_size, (BATCH, 64))
        image = torch.full((BATCH, patches), config.image_token_index)
        ids = torch.cat((image, words), 1)
        return {"input_ids": ids, "pixel_values": pixels, "labels": ids}, ids.numel()
    ids = torch.randint(5, config.vocab_size, (BATCH, LENGTH))
    return {"input_ids": ids, "labels": ids}, BATCH * LENGTH


def main(name: str, rounds: int) -> None:
    config_class, changes, auto, task, backend = FAMILIES[name]
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**changes)
    theirs = made_by(getattr(transformers, auto), config, backend)
    ours = build(read_config(config.to_dict()), task, attention=backend)
    stored = {key: value.clone() for key, value in theirs.state_dict().items()}
    load_weights(ours, revert_weight_conversion(theirs, stored))
    batch, count = inputs_of(name, config)
    sides = {"tfcli": ours.eval(), "transformers": theirs.eval()}
    times: dict[str, dict[str, list[float]]] = {side: {} for side in sides}
    for turn in range(rounds + 1):
        # The one that comes after the other's backward pass finds other memory; so they swap.
        for side, model in sorted(sides.items(), reverse=bool(turn % 2)):
            for figure, run in (("forward", forward), ("forward_backward", forward_backward)):
                seconds = clock(run, model, batch)
                if turn:  # the first is a warm-up
                    times[side].setdefault(figure, []).append(count / seconds)
    parameters = sum(parameter.numel() for parameter in ours.parameters())
    found = {side: {"figures": figures(rates)} for side, rates in times.items()}
    print(json.dumps({"parameters": parameters, "sides": found}))


def made_by(kind: Any, config: Any, backend: str) -> Any:
    """The transformers model of an auto class, or of a class of its own."""
    make = getattr(kind, "from_config", None) or kind._from_config
    return make(config, attn_implementation=backend)


def forward(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        model(**batch)


def forward_backward(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    model(**batch).loss.backward()
    model.zero_grad(set_to_none=True)


def clock(run: Callable[..., None], *words: Any) -> float:
    began = perf_counter()
    run(*words)
    return perf_counter() - began


def figures(rates: dict[str, list[float]]) -> dict[str, list[float]]:
    """Median, lowest and highest of each figure: tokens, images or recordings a second."""
    labels = {"forward": "forward, 1/s", "forward_backward": "forward + backward, 1/s"}
    return {
        label: [pick(rates[key]) for pick in (median, min, max)] for key, label in labels.items()
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
