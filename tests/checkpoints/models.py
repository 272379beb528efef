"""Tiny models for the tests of folders, convert and inspect."""

from __future__ import annotations

from typing import Any

import torch

from tfcli.models.loading import build, initialize
from tfcli.models.model import Model
from tfcli.models.registry import read_config

LLAMA = {
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 61,
    "n_positions": 32,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "initializer_range": 0.2,
    "bos_token_id": 60,
    "eos_token_id": 60,
}
BERT = {
    "model_type": "bert",
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}


def tiny(
    settings: dict[str, Any] | None = None, *, dtype: torch.dtype = torch.float32, **changes: Any
) -> Model:
    """A model with random weights, in eval mode."""
    config = read_config({**(LLAMA if settings is None else settings), **changes})
    return initialize(build(config), 0, dtype=dtype).eval()


def tokens(length: int = 12) -> torch.Tensor:
    """Token ids [2, length]."""
    return torch.randint(0, 60, (2, length), generator=torch.Generator().manual_seed(1))
