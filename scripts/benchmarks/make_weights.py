"""Write a bf16 llama checkpoint of the 1B or the 8B shape: make_weights.py FOLDER 1b|8b [BLOCKS]

The values are drawn once and repeated in every tensor: a conversion takes as long on them as on
others, and 16 GB are there in the time that the disk takes.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.shards import write_shards
from tfcli.files import write_json

COMMON: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128256,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "dtype": "bfloat16",
}
SHAPES: dict[str, dict[str, Any]] = {
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "head_dim": 128,
        "tie_word_embeddings": False,
    },
}


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of such a llama."""
    wide, middle = config["hidden_size"], config["intermediate_size"]
    narrow = config["num_key_value_heads"] * config["head_dim"]
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], wide)}
    for layer in range(config["num_hidden_layers"]):
        inside = {
            "input_layernorm": (wide,),
            "self_attn.q_proj": (wide, wide),
            "self_attn.k_proj": (narrow, wide),
            "self_attn.v_proj": (narrow, wide),
            "self_attn.o_proj": (wide, wide),
            "post_attention_layernorm": (wide,),
            "mlp.gate_proj": (middle, wide),
            "mlp.up_proj": (middle, wide),
            "mlp.down_proj": (wide, middle),
        }
        found |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in inside.items()}
    found["model.norm.weight"] = (wide,)
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (config["vocab_size"], wide)
    return found


def main() -> None:
    folder, size, *blocks = Path(sys.argv[1]), *sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    config = COMMON | SHAPES[size]
    if blocks:
        config["num_hidden_layers"] = int(blocks[0])
    torch.manual_seed(0)
    values = torch.randn(128256 * config["hidden_size"] // 16).mul_(0.02).bfloat16()

    def read(shape: tuple[int, ...]) -> Tensor:
        count = torch.Size(shape).numel()
        return values.repeat(-(-count // values.numel()))[:count].view(shape)

    pending = [
        PendingTensor(name, "BF16", shape, partial(read, shape))
        for name, shape in shapes(config).items()
    ]
    files = write_shards(folder, pending)
    write_json(folder / "config.json", config)
    print(json.dumps({"bytes": sum(path.stat().st_size for path in files)}))


main()
