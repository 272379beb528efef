"""What transformers 4.46.3 makes by strategies that later releases do not have.

`python tests/generation/strategies/older.py FILE` writes it, in an environment of its own with
transformers 4.46.3 beside this project's torch. The weights come from seeds alone, so that a later
transformers can make the same models.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers

PROMPTS = [[5, 6, 7, 8, 9, 10], [11], [12, 13, 14]]
NEW = 12
SIZES = {"vocab_size": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
GROUPS = {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.7}
ENDS = [18, 27, 31, 36]
CASES = {
    "groups": GROUPS,
    "groups that end": {**GROUPS, "eos_token_id": ENDS, "num_return_sequences": 4},
    "groups of one": {"num_beams": 3, "num_beam_groups": 3, "diversity_penalty": 2.5},
    "early groups": {**GROUPS, "eos_token_id": ENDS, "early_stopping": True, "length_penalty": 0.3},
    "late groups": {
        **GROUPS,
        "eos_token_id": ENDS,
        "early_stopping": "never",
        "length_penalty": 2.0,
    },
    "groups with rules": {**GROUPS, "repetition_penalty": 1.6, "no_repeat_ngram_size": 2},
    "a phrase": {"num_beams": 3, "force_words_ids": [[25, 26]]},
    "several words": {"num_beams": 5, "force_words_ids": [[30], [33], [28]]},
    "one of two": {"num_beams": 4, "force_words_ids": [[[25, 26], [30]], [33]]},
    "words that end": {"num_beams": 4, "force_words_ids": [[25, 26]], "eos_token_id": ENDS},
    "contrast": {"penalty_alpha": 0.6, "top_k": 4},
    "more contrast": {"penalty_alpha": 0.9, "top_k": 7, "eos_token_id": ENDS},
    "contrast with rules": {"penalty_alpha": 0.4, "top_k": 5, "repetition_penalty": 1.6},
    "low layers": {"dola_layers": "low", "repetition_penalty": 1.2},
    "high layers": {"dola_layers": "high", "repetition_penalty": 1.2},
    "some layers": {"dola_layers": [1, 3]},
    "one layer": {"dola_layers": [2]},
}


def config(model_type: str) -> transformers.PretrainedConfig:
    """Of a tiny model."""
    if model_type == "llama":
        return transformers.LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            **SIZES,
        )
    return transformers.BartConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
        **SIZES,
    )


def make(model_type: str) -> torch.nn.Module:
    """The model, with weights that depend on their names and shapes alone."""
    seq2seq = model_type != "llama"
    auto = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    model = auto.from_config(config(model_type)).eval()
    with torch.no_grad():
        for number, (name, weight) in enumerate(sorted(model.named_parameters())):
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
            if weight.ndim > 1:
                weight.copy_(0.3 * noise)
            else:
                weight.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
    return model


def cases(model_type: str) -> dict[str, dict]:
    """Those that the model can do."""
    return {
        name: said
        for name, said in CASES.items()
        if model_type == "llama" or "dola_layers" not in said
    }


def texts(model, model_type: str, said: dict) -> list[list[list[int]]]:
    """The texts of each prompt, with what fills them up."""
    found = []
    for prompt in PROMPTS:
        start = {} if model_type == "llama" else {"decoder_start_token_id": 2}
        model.generation_config = transformers.GenerationConfig(
            **{"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": None, **start, **said}
        )
        made = model.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False)
        found.append(made[:, len(prompt) if model_type == "llama" else 1 :].tolist())
    return found


if __name__ == "__main__":
    assert transformers.__version__ == "4.46.3", "later ones do not have these strategies"
    golden = {}
    for each in ("llama", "bart"):
        made = make(each)
        golden[each] = {name: texts(made, each, said) for name, said in cases(each).items()}
    content = json.dumps(golden, separators=(",", ":")) + "\n"
    Path(sys.argv[1]).write_text(content, encoding="utf-8")
