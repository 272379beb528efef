"""What every side of `scripts/bench train` trains: shapes and texts, read without tfcli."""

from __future__ import annotations

import json
import resource
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

WINDOW = 256
SMALL: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
MIDDLE = {
    **SMALL,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
}
CASES: dict[str, dict[str, Any]] = {
    "4m": {"config": SMALL, "vocab_size": 4096, "batch": 8},
    "100m": {"config": MIDDLE, "vocab_size": 4096, "batch": 4},
    "words": {"config": SMALL, "vocab_size": 128_000, "batch": 8},
    "lora": {"config": MIDDLE, "vocab_size": 4096, "batch": 4},
    "packed": {"config": SMALL, "vocab_size": 4096, "batch": 8},
}
"""Name -> the model, and rows of a forward pass. `words` has a large vocabulary, of which the text
uses 4,096; `lora` and `packed` start from a folder."""


def read_rows(text: str) -> list[dict[str, str]]:
    """The paragraphs of a text of some length, their beginnings as prompts: what is packed."""
    found = []
    for line in Path(text).read_text(encoding="utf-8").splitlines():
        found += [each for each in json.loads(line)["text"].split("\n\n") if len(each) > 40]
    return [{"prompt": each[:20], "completion": each[20:]} for each in found]


def read_windows(text: str, tokenizer: str) -> Any:
    """The text as token ids: [n, WINDOW]"""
    import torch
    from transformers import AutoTokenizer

    lines = Path(text).read_text(encoding="utf-8").splitlines()
    encode = AutoTokenizer.from_pretrained(tokenizer)
    ids = [id for line in lines for id in encode(json.loads(line)["text"])["input_ids"]]
    return torch.tensor(ids[: len(ids) // WINDOW * WINDOW]).view(-1, WINDOW)


def new_model(case: str) -> Any:
    """transformers' model of a case."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    vocab_size = CASES[case]["vocab_size"]
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **CASES[case]["config"]))


def middle_gap(times: list[float]) -> float:
    """The median time between two steps."""
    return median(later - earlier for earlier, later in pairwise(times))


def report(tokens_per_second: float) -> None:
    """What the benchmark reads."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(
        json.dumps({"tokens_per_second": tokens_per_second, "peak_memory_bytes": peak}) + "\n"
    )
