"""Decoders from before Llama."""

from __future__ import annotations

from tests.models.case import DECODER_TASKS, Case

_GPT2 = {
    "vocab_size": 61,
    "n_positions": 32,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "initializer_range": 0.2,
    "bos_token_id": 60,
    "eos_token_id": 60,
}

CASES = [
    Case("gpt2", "GPT2Config", _GPT2, DECODER_TASKS),
    Case("gpt2-untied", "GPT2Config", _GPT2 | {"tie_word_embeddings": False, "n_inner": 40}),
    Case(
        "gpt2-scales",
        "GPT2Config",
        _GPT2
        | {
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
            "reorder_and_upcast_attn": True,
            "activation_function": "relu",
        },
    ),
]
