"""How long quantizing takes and what it holds: quantize_speed.py [--rounds N] [--blocks N] ...

Two parts on a llama of Llama-3.2-1B's shape, bf16. Rounding to nearest of the whole model beside
`cp` of its files, from files that are not cached until the result is on the disk; the bound of its
own memory is two tensors and 256 MB. GPTQ on a few of its blocks, 4 bits in groups of 128, beside
GPTQModel on the same files and windows: plain (no search, drift or refinement) and as it is by
default; the bound is one block in float32 with its statistics, one shard and 256 MB.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from main import forget, number, say, side
from quantize import PEER, peer
from quantize_models import stdlib_tokenizer

PLAIN = ("--drift=0", "--refine=0", "--scale-search=max", "--order=natural")
WORDS = 3_000  # fewer than the tokenizer has, so that every id stands for a text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=2, help="of the model for GPTQ")
    parser.add_argument("--windows", type=int, default=64, help="of 512 tokens")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tfcli-bench-") as made:
        found = {"rtn": rounding(Path(made), options.rounds)}
        found["gptq"] = calibrated(Path(made), options)
    print(json.dumps(found))


def rounding(folder: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    source, target = folder / "1b", folder / "out"
    nbytes = side("make_weights.py", str(source), "1b")["bytes"]
    common = [str(source), str(target)]
    quantize = ["command.py", "quantize", *common, "--method=rtn", "--bits=4", "--group-size=128"]
    sides = {
        "cp -r, flushed": ["copying.py", *common],
        "rtn, 4 bits": quantize,
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, command in sides.items():
            shutil.rmtree(target, ignore_errors=True)
            forget(source)
            began = perf_counter()
            run = side(*command)
            seconds = perf_counter() - began
            runs[name].append(run | {"seconds": seconds})
            say(told(name, seconds, run["own_bytes"]) + f", {nbytes / seconds / 1e9:.2f} GB/s")
    shutil.rmtree(target)
    shutil.rmtree(source)
    copied = median(run["seconds"] for run in runs["cp -r, flushed"])
    for name in list(sides)[1:]:
        share = copied / median(run["seconds"] for run in runs[name])
        say(f"{name}: {share:.0%} of the rate of cp")
    return runs


def calibrated(folder: Path, options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    source, target, ids = folder / "blocks", folder / "out", folder / "ids.json"
    side("make_weights.py", str(source), "1b", str(options.blocks))
    tokenizer = stdlib_tokenizer()
    for path in tokenizer.glob("*token*"):
        shutil.copy(path, source)
    draw = random.Random(0)
    windows = [[draw.randrange(100, WORDS) for _ in range(512)] for _ in range(options.windows)]
    ids.write_text(json.dumps(windows))
    text = folder / "text.jsonl"
    text.write_text(decoded(tokenizer, windows), encoding="utf-8")
    common = ["command.py", "quantize", str(source), str(target), "--method=gptq", "--bits=4"]
    common += [f"--data={text}", f"--samples={options.windows}", "--sequence-length=512"]
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(max(1, options.rounds // 3)):
        for name, words in {"gptq, plain": PLAIN, "gptq, by default": ()}.items():
            shutil.rmtree(target, ignore_errors=True)
            run = side(*common, "--group-size=128", *words)
            runs.setdefault(name, []).append(run)
            say(told(name, run["seconds"], run["own_bytes"]))
        for name, settings in {"GPTQModel": {}, "GPTQModel, mse": {"mse": 2.0}}.items():
            if not PEER.exists():
                say(f"{name} is left out: scripts/gptqmodel makes its environment")
                continue
            shutil.rmtree(target, ignore_errors=True)
            settings = {"bits": 4, "group_size": 128, "sym": True, **settings}
            given = [str(source), str(target), str(ids), json.dumps(settings)]
            told_by = peer(name, given, folder)
            if told_by is not None:
                runs.setdefault(name, []).append(told_by)
                say(f"{name:<20}{number(told_by['seconds']):>10} s")
    return runs


def decoded(tokenizer: Path, windows: list[list[int]]) -> str:
    """The windows as documents, so that both sides calibrate on about as many tokens alike."""
    from tfcli.tokenizers.load import load_tokenizer

    known = load_tokenizer(tokenizer)
    return "".join(json.dumps({"text": known.decode(each)}) + "\n" for each in windows)


def told(name: str, seconds: float, own: int) -> str:
    return f"{name:<20}{number(seconds):>10} s{own / 1e6:>10,.0f} MB of its own"


if __name__ == "__main__":
    main()
