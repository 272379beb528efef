"""Dense models to quantize, with text to calibrate on and other text to measure on.

All are kept in .bench/ and made again only when what they are made of has changed: each is a tfcli
step, whose key says that.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.data.spec import DataSpec
from tfcli.recipe.execute import execute
from tfcli.recipe.spec import Spec
from tfcli.tokenizers.spec import TokenizerSpec
from tfcli.train.spec import TrainSpec

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".bench"
SMOLLM2 = ROOT / ".released/smollm2-135m-instruct-q4_1.gguf"
# Tests repeat themselves, and what others installed differs from machine to machine.
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "pydoc_data", "ensurepip", "site-packages"}
# 14 M weights. Groups of 128 divide the inputs of every linear.
SHAPE = {
    "model_type": "llama",
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 7,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "initializer_range": 0.04,
}


@dataclass(frozen=True)
class Subject:
    """A dense model and its texts.

    Args:
        folder: float16 weights: what files are made of, so that no side rounds what it keeps.
        calibration: .jsonl; windows of it are drawn for each seed.
        held_out: .jsonl of other documents, with no paragraph that the calibration text has.
    """

    folder: Path
    calibration: Path
    held_out: Path


def stdlib_text() -> Path:
    """Python's standard library as a document a file, split by document: a folder."""
    root = Path(sysconfig.get_paths()["stdlib"])
    KEPT.mkdir(exist_ok=True)
    source = KEPT / "stdlib.jsonl"
    lines = []
    for path in sorted(root.rglob("*.py")):
        if not LEFT_OUT & set(path.relative_to(root).parts):
            text = path.read_text(encoding="utf-8", errors="replace")
            lines.append(json.dumps({"text": text}) + "\n")
    # Only where it differs: another benchmark may be reading it.
    if not source.exists() or source.read_text(encoding="utf-8") != "".join(lines):
        source.write_text("".join(lines), encoding="utf-8")
    return made(
        DataSpec(source=str(source), output=str(KEPT / "stdlib-text"), validation=0.02, test=0.1)
    )


def stdlib_tokenizer() -> Path:
    """A tokenizer of 4,096 tokens, trained on that text: a folder."""
    text = stdlib_text() / "train.jsonl"
    output = str(KEPT / "stdlib-tokenizer")
    return made(TokenizerSpec(data=str(text), output=output, vocab_size=4096))


def stdlib(steps: int) -> Subject:
    """A llama of 14 M weights, trained for some steps of 2,048 tokens."""
    text, tokenizer = stdlib_text(), stdlib_tokenizer()
    trained = made(
        TrainSpec.model_validate(
            {
                "output": str(KEPT / f"stdlib-{steps}-trained"),
                "config": SHAPE,
                "tokenizer": str(tokenizer),
                "data": str(text / "train.jsonl"),
                "sequence_length": 256,
                "batch_size": 8,
                "max_steps": steps,
                "optimizer": {"lr": 3e-3, "weight_decay": 0.1},
                "schedule": {"name": "cosine", "warmup_steps": 30, "final_ratio": 0.05},
                "checkpoint_every": 50,
                "seed": 0,
            }
        )
    )
    return subject(str(trained), f"stdlib-{steps}", text)


def smollm2(steps: int) -> Subject | None:
    """SmolLM2-135M-Instruct as it was released in Q4_1: the dense model is what that stands for."""
    return subject(str(SMOLLM2), "smollm2", stdlib_text()) if SMOLLM2.exists() else None


SUBJECTS: dict[str, Callable[[int], Subject | None]] = {"stdlib": stdlib, "smollm2": smollm2}
"""Name -> what makes it, from the steps of training; None where its weights are not there."""


def subject(source: str, name: str, text: Path) -> Subject:
    dense = made(ConvertSpec(source=source, output=str(KEPT / name), dtype="fp16"))
    return Subject(dense, text / "train.jsonl", text / "test.jsonl")


def made(spec: Spec) -> Path:
    """The artifact of a step, which runs where it is not there yet."""
    target = spec.target()
    assert target is not None
    execute(spec, Console(), replace=True)
    return Path(target)
