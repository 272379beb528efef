"""Write a checkpoint of random weights: make.py FOLDER 1b|1b-untied|135m|two float32|bfloat16

The shapes are those of Llama-3.2-1B, of SmolLM2-135M, and two layers that take no time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tfcli.checkpoints.folder import save_model
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

COMMON: dict[str, object] = {
    "model_type": "llama",
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
}
SHAPES: dict[str, dict[str, object]] = {
    "1b": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
        },
        "bos_token_id": 128000,
        "eos_token_id": 128001,
    },
    "135m": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rope_theta": 100000.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "two": {
        "vocab_size": 4096,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 2048,
    },
}


SHAPES["1b-untied"] = SHAPES["1b"] | {"tie_word_embeddings": False}


def main() -> None:
    folder, shape, dtype = sys.argv[1:]
    model = build(read_config(COMMON | SHAPES[shape]), "causal-lm")
    save_model(initialize(model, 0, dtype=getattr(torch, dtype)), Path(folder))
    print(json.dumps({"parameters": sum(each.numel() for each in model.parameters())}))


main()
