"""Write a random-weight bf16 checkpoint of Llama-3.2-1B's shape: make.py FOLDER"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tfcli.checkpoints.model import save_model
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

CONFIG = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
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
}


def main() -> None:
    model = build(read_config(CONFIG), "causal-lm")
    save_model(initialize(model, 0, dtype=torch.bfloat16), Path(sys.argv[1]))
    print(json.dumps({"parameters": sum(each.numel() for each in model.parameters())}))


main()
