"""What a program takes before it holds a tensor, measured on this machine.

A training of almost nothing runs in a process of its own: Python, torch, the libraries of its
strategy and optimizer, and what they make at their first use.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tfcli.errors import WorkError

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def measure(**options: Any) -> int:
    """Bytes of a process that trains a model of almost no size.

    Args:
        options: keys of the training that decide what is loaded, such as `strategy`.

    Raises:
        WorkError: the process failed.
    """
    alone = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
    place = {name: value for name, value in os.environ.items() if name not in alone}
    if "zero" in str(options.get("strategy")):  # DeepSpeed asks for all of a launcher's words
        place |= dict.fromkeys(alone, "0") | {"WORLD_SIZE": "1"}
    place["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    words = [sys.executable, "-m", "tfcli.estimate.runtime", json.dumps(options)]
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
    config = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    spec = TrainSpec.model_validate(
        {
            "output": str(folder / "out"),
            "config": config,
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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tfcli-") as home:
        _train(Path(home), json.loads(sys.argv[1]))
    print(highest())  # noqa: T201
