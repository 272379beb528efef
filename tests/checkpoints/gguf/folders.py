"""Tiny checkpoints of every family, with a tokenizer each."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from tests.checkpoints.models import tiny
from tfcli.checkpoints.folder import save_model
from tfcli.models.model import Model
from tfcli.tokenizers.run import train_bpe, write_tokenizer

VOCAB = 320
TEXTS = ["the cat sat on the mat and the dog sat on the log", "héllo wörld, it's 3.14 — 𝄞!"] * 3
_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_WIDE = {**_GROUPED, "head_dim": 32}
_GEMMA = {**_WIDE, "query_pre_attn_scalar": 32}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.5, 1.7, 1.9, 2.0],
    "long_factor": [1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0],
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **_GROUPED},
    "llama-tied": {"model_type": "llama", **_GROUPED, "tie_word_embeddings": True},
    "llama-biases": {"model_type": "llama", **_WIDE, "attention_bias": True, "mlp_bias": True},
    "llama-3": {"model_type": "llama", **_GROUPED, "rope_parameters": _LLAMA3},
    "llama-linear": {
        "model_type": "llama",
        **_GROUPED,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    },
    "llama-yarn": {
        "model_type": "llama",
        **_GROUPED,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "llama-yarn-factor": {
        "model_type": "llama",
        **_GROUPED,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "beta_fast": 32.0,
            "attention_factor": 1.5,
            "original_max_position_embeddings": 32,
        },
    },
    "mistral": {"model_type": "mistral", **_WIDE, "sliding_window": 128},
    "mixtral": {"model_type": "mixtral", **_GROUPED, "num_local_experts": 4},
    "qwen2": {"model_type": "qwen2", **_GROUPED},
    "qwen3": {"model_type": "qwen3", **_WIDE},
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        **_WIDE,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "norm_topk_prob": True,
    },
    "gemma": {"model_type": "gemma", **_WIDE},
    "gemma2": {"model_type": "gemma2", **_GEMMA, "sliding_window": 4},
    "gemma3_text": {"model_type": "gemma3_text", **_GEMMA, "sliding_window": 4},
    "phi3": {"model_type": "phi3", **_GROUPED, "original_max_position_embeddings": 128},
    "phi3-long": {
        "model_type": "phi3",
        **_GROUPED,
        "original_max_position_embeddings": 32,
        "rope_scaling": _LONG,
    },
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": VOCAB,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 128,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "gpt_neox": {"model_type": "gpt_neox", **_SIZES, "rotary_pct": 0.5},
    "starcoder2": {"model_type": "starcoder2", **_GROUPED},
    "bert": {"model_type": "bert", **_SIZES},
}
DECODERS = [name for name in FAMILIES if name != "bert"]


@cache
def byte_level() -> Tokenizer:
    return train_bpe(TEXTS, 300)


def model(name: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Model:
    """A family's tiny model; vectors are random too, so that nothing hides behind ones."""
    made = tiny({**FAMILIES[name], **changes}, dtype=dtype)
    generator = torch.Generator().manual_seed(7)
    for parameter in made.parameters():
        if parameter.dim() == 1:
            noise = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.data += noise.to(parameter.dtype)
    return made


def write_folder(
    folder: Path, name: str, dtype: torch.dtype = torch.float32, **changes: Any
) -> Model:
    """A family's checkpoint with a byte-level tokenizer; returns its model."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(byte_level(), folder)
    made = model(name, dtype, **changes)
    save_model(made, folder)
    return made
