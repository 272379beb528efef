"""Makes auto_round.safetensors and auto_round.json: folders that AutoRound wrote, and its logits.

    python -P tests/quantize/golden/make_auto_round.py FOLDER     # with auto-round 0.16.1

`-P` keeps the folder `eetq` beside this file from being taken for the library of that name.
Weights are rounded without tuning (`iters=0`). The logits are those of the dense model that
AutoRound writes of the same numbers (its format `fake`), whose weights are fp16.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from auto_round import AutoRound
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gptq": (
        "auto_round:auto_gptq",
        {
            "bits": 4,
            "group_size": 32,
            "sym": True,
            "layer_config": {
                "model.layers.0.mlp.down_proj": {"bits": 8},
                "model.layers.0.self_attn.q_proj": {"bits": 16},
            },
        },
    ),
    "gptq_v2": ("auto_round:gptqmodel", {"bits": 2, "group_size": 32, "sym": False}),
    "awq": (
        "auto_round:auto_awq",
        {
            "bits": 4,
            "group_size": 32,
            "sym": False,
            "layer_config": {"model.layers.0.self_attn.q_proj": {"bits": 16}},
        },
    ),
    "mxfp4": ("auto_round", {"scheme": "MXFP4"}),
    "nvfp4": ("auto_round", {"scheme": "NVFP4"}),
}
CONFIG = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
IDS = torch.arange(8)[None]


def rounded(
    tokenizer: PreTrainedTokenizerFast, options: dict[str, Any], form: str, folder: Path
) -> Path:
    """The folder that AutoRound writes of the model."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).to(torch.float16).eval()
    AutoRound(
        model,
        tokenizer,
        iters=0,
        disable_opt_rtn=True,
        dataset=[torch.randint(0, 32, (1, 16)) for _ in range(2)],
        seqlen=16,
        nsamples=2,
        device_map="cpu",
        **json.loads(json.dumps(options)),
    ).quantize_and_save(str(folder), format=form)
    (written,) = folder.rglob("model.safetensors")
    return written.parent


def main(folder: Path) -> None:
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(32)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w0")
    tensors, configs = {}, {}
    for case, (form, options) in CASES.items():
        written = rounded(tokenizer, options, form, folder / case)
        tensors |= {
            f"{case}.{name}": t for name, t in load_file(written / "model.safetensors").items()
        }
        configs[case] = json.loads((written / "config.json").read_text())
        dense = LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()
        fake = rounded(tokenizer, options, "fake", folder / f"{case}-dense")
        weights = load_file(fake / "model.safetensors")
        dense.load_state_dict({name: t.float() for name, t in weights.items()})
        with torch.no_grad():
            tensors[f"{case}.logits"] = dense(IDS).logits[0].contiguous()
    here = Path(__file__).parent
    save_file(tensors, here / "auto_round.safetensors")
    (here / "auto_round.json").write_text(json.dumps(configs, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
