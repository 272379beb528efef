"""What `tfcli estimate` says beside what a run takes: estimate.py FOLDER [NAME ...]

Each line is a JSON object: a shape's name, the estimate, and the most main memory that one of its
processes had (VmHWM, as the process itself reads it at its end), both in bytes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from tfcli.checkpoints.folder import save_model
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.tokenizers.run import train_bpe, write_tokenizer

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "another", "dog", "ran", "around", "it"]
PEAK = Path(__file__).with_name("peak.py")
LLAMA: dict[str, Any] = {"model_type": "llama", "tie_word_embeddings": True}
SMALL = LLAMA | {
    "vocab_size": 8192,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
}
TINY = SMALL | {"hidden_size": 320, "intermediate_size": 864, "num_hidden_layers": 6}
LARGE = LLAMA | {  # SmolLM2-135M's
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
WIDE = SMALL | {
    "model_type": "qwen2",
    "vocab_size": 65536,
    "num_hidden_layers": 4,
    "num_key_value_heads": 8,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 16384,
    "n_embd": 768,
    "n_layer": 6,
    "n_head": 12,
    "n_positions": 1024,
}
BERT = {
    "model_type": "bert",
    "vocab_size": 16384,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
}


def train(config: dict[str, Any] | None, rows: int, length: int, **more: Any) -> dict[str, Any]:
    """A recipe of two steps: in the second, the optimizer has its state."""
    start = {"model": "model"} if config is None else {"config": config, "tokenizer": "tokenizer"}
    return {
        "command": "train",
        "data": "text.jsonl",
        **start,
        "batch_size": rows,
        "sequence_length": length,
        "max_steps": 2,
        "checkpoint_every": 0,
        "precision": "float32",
        **more,
    }


SHAPES: dict[str, tuple[dict[str, Any], int]] = {
    "llama 30 M, 4 x 512, AdamW": (train(SMALL, 4, 512), 1),
    "the same, checkpointing": (train(SMALL, 4, 512, activation_checkpointing=True), 1),
    "the same, eager attention, 2 x 512": (train(SMALL, 2, 512, attention="eager"), 1),
    "llama 9 M, 8 x 256, SGD, 2 passes": (
        train(TINY, 8, 256, optimizer={"name": "sgd"}, gradient_accumulation=2),
        1,
    ),
    "qwen2 46 M, 64k words, 2 x 512, Lion": (train(WIDE, 2, 512, optimizer={"name": "lion"}), 1),
    "gpt2 56 M, 2 x 256, Adafactor": (train(GPT2, 2, 256, optimizer={"name": "adafactor"}), 1),
    "llama 135 M, 1 x 256, AdamW": (train(LARGE, 1, 256), 1),
    "llama 135 M, 2 x 256, LoRA": (train(None, 2, 256, adapter={"type": "lora"}), 1),
    "llama 135 M, 2 x 256, LoRA, checkpointing": (
        train(None, 2, 256, adapter={"type": "lora"}, activation_checkpointing=True),
        1,
    ),
    "llama 30 M, 2 x 256, DDP, 2 processes": (train(SMALL, 2, 256, strategy="ddp"), 2),
    "llama 30 M, 2 x 256, FSDP, 2 processes": (train(SMALL, 2, 256, strategy="fsdp"), 2),
    "llama 30 M, 2 x 256, tensor parallelism, 2 processes": (
        train(SMALL, 2, 256, strategy="tp"),
        2,
    ),
    "qwen2 46 M, 1 x 512, tensor parallelism, 2 processes": (
        train(WIDE, 1, 512, strategy="tp", activation_checkpointing=True),
        2,
    ),
    "llama 30 M, 2 x 256, ZeRO-2, 2 processes": (train(SMALL, 2, 256, strategy="zero2"), 2),
    "llama 30 M, 2 x 256, ZeRO-3, 2 processes": (train(SMALL, 2, 256, strategy="zero3"), 2),
    "llama 135 M, generate, 1024 tokens read": (
        {
            "command": "generate",
            "model": "model",
            "prompt": " ".join(WORDS * 64),
            "max_new_tokens": 8,
        },
        1,
    ),
    "llama 135 M, eval, windows of 1024": (
        {"command": "eval", "model": "model", "data": "short.jsonl", "sequence_length": 1024},
        1,
    ),
    "llama 135 M, RTN, 4 bits": ({"command": "quantize", "model": "model", "method": "rtn"}, 1),
    "llama 135 M, GPTQ, 4 bits": (
        {
            "command": "quantize",
            "model": "model",
            "method": "gptq",
            "data": "text.jsonl",
            "samples": 8,
            "sequence_length": 256,
        },
        1,
    ),
}


def prepare(folder: Path) -> None:
    """Texts, a tokenizer and a checkpoint of random weights."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=2000)) for _ in range(20)]
    for name, part in (("text", texts), ("short", texts[:1])):
        lines = (json.dumps({"text": text}) for text in part)
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "tokenizer").mkdir()
    write_tokenizer(train_bpe(texts, 300), folder / "tokenizer")
    model = build(read_config(LARGE | {"max_position_embeddings": 4096}), "causal-lm")
    save_model(initialize(model, 0), folder / "model", tokenizer_from=folder / "tokenizer")


def measured(folder: Path, recipe: Path, verb: str, processes: int) -> int:
    """The most memory that one of a run's processes had."""
    words = [sys.executable, str(PEAK)]
    if processes > 1:
        words = [
            str(Path(sys.executable).parent / "torchrun"),
            "--nproc-per-node",
            str(processes),
            str(PEAK),
        ]
    called([*words, str(folder / "peak"), verb, str(recipe), "--quiet"], folder)
    found = list(folder.glob("peak.*"))
    most = max(int(path.read_text()) for path in found)
    for path in found:
        path.unlink()
    return most


def called(words: list[str], folder: Path) -> str:
    """What a command writes to its standard output."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    folder, chosen = Path(sys.argv[1]).resolve(), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model").exists():
        prepare(folder)
    tfcli = [sys.executable, "-m", "tfcli.commands"]
    for number, (name, (keys, processes)) in enumerate(SHAPES.items()):
        if chosen and name not in chosen:
            continue
        verb, recipe = keys["command"], folder / f"{number}.json"
        output = {} if verb == "generate" else {"output": f"out-{number}"}
        recipe.write_text(json.dumps({**keys, **output}))
        more = ["--world-size", str(processes)] if processes > 1 else []
        told = json.loads(called([*tfcli, "estimate", str(recipe), *more, "--json"], folder))
        peak = measured(folder, recipe, verb, processes)
        line = {"name": name, "estimate": told["bytes"], "measured": peak, "parts": told["parts"]}
        print(json.dumps(line), flush=True)


main()
