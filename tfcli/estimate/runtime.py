"""What a program takes before it holds a tensor, measured on this machine.

A training, or a quantization, of almost nothing runs in a process of its own: Python, torch, the
libraries of its strategy, optimizer or method, and what they make at their first use.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from tfcli.errors import WorkError

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
"""Of a model of almost no size."""


def measure(verb: Literal["train", "quantize"] = "train", **options: Any) -> int:
    """Bytes of a process that trains or quantizes a model of almost no size.

    Args:
        verb: what it does.
        options: keys of it that decide what is loaded, such as `strategy`.

    Raises:
        WorkError: the process failed.
    """
    alone = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
    place = {name: value for name, value in os.environ.items() if name not in alone}
    if "zero" in str(options.get("strategy")):  # DeepSpeed asks for all of a launcher's words
        place |= dict.fromkeys(alone, "0") | {"WORLD_SIZE": "1"}
    place["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    words = [sys.executable, "-m", "tfcli.estimate.runtime", verb, json.dumps(options)]
    done = subprocess.run(words, capture_output=True, text=True, env=place, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise WorkError(f"the memory of the program itself could not be measured: {last}")
    return int(done.stdout.splitlines()[-1])


def highest() -> int:
    """The most bytes of main memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # what the process was before it began is counted in ru_maxrss too
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _train(folder: Path, options: dict[str, Any]) -> None:
    import torch

    from tfcli.process_group import have_group
    from tfcli.recipe.job import Job
    from tfcli.tokenizers.run import train_bpe, write_tokenizer
    from tfcli.train.run import run
    from tfcli.train.spec import TrainSpec

    text = " ".join(WORDS * 20)
    (folder / "text.jsonl").write_text(json.dumps({"text": text}) + "\n")
    for name in ("tokenizer", "out"):
        (folder / name).mkdir()
    write_tokenizer(train_bpe([text], 300), folder / "tokenizer")
    if options.get("strategy") == "ddp":  # of two processes at least; this one stands for one
        del options["strategy"]
        have_group(torch.device("cpu"))
    if options.get("strategy") == "tp":  # groups of several as well; the same libraries
        options["strategy"] = "fsdp"
    spec = TrainSpec.model_validate(
        {
            "output": str(folder / "out"),
            "config": CONFIG,
            "tokenizer": str(folder / "tokenizer"),
            "data": str(folder / "text.jsonl"),
            "sequence_length": 16,
            "batch_size": 1,
            "max_steps": 2,
            "device": "cpu",
            **options,
        }
    )
    run(spec, Job(folder=folder / "out"))


def _quantize(folder: Path, options: dict[str, Any]) -> None:
    import torch

    from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
    from tfcli.files import write_json
    from tfcli.models.loading import build
    from tfcli.models.registry import read_config
    from tfcli.quantize.run import run
    from tfcli.quantize.spec import QuantizeSpec
    from tfcli.recipe.job import Job

    config = {**CONFIG, "vocab_size": 16, "hidden_size": 64, "intermediate_size": 64}
    shapes = build(read_config(config), "causal-lm").state_dict()
    for name in ("model", "out"):
        (folder / name).mkdir()
    write_safetensors(
        folder / "model" / "model.safetensors",
        [PendingTensor.of(name, torch.ones(each.shape)) for name, each in shapes.items()],
    )
    write_json(folder / "model" / "config.json", config)
    values = {"model": str(folder / "model"), "output": str(folder / "out"), **options}
    run(QuantizeSpec.model_validate(values), Job(folder=folder / "out"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tfcli-") as home:
        work = {"train": _train, "quantize": _quantize}[sys.argv[1]]
        work(Path(home), json.loads(sys.argv[2]))
    print(highest())  # noqa: T201
