"""Run benchmarks: every side in processes of its own, the sides in turn, medians over the rounds.

In turn, so that a machine that slows down or speeds up does so for both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from quantize_models import SMOLLM2, stdlib_tokenizer

from tfcli.recipe.record import machine

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
INFERENCE = {
    "load_seconds": "load, s",
    "first_token_seconds": "load + first token, s",
    "prefill_tokens_per_second": "prefill, tok/s",
    "decode_tokens_per_second": "decode, tok/s",
    "row_tokens_per_second": "one row a step, tok/s",
    "rows_tokens_per_second": "4 rows a step, tok/s",
    "peak_memory_bytes": "peak memory, GB",
}
SHAPES = {"1b": "Llama-3.2-1B", "135m": "SmolLM2-135M"}
DECODE = {
    "prefill": "prefill of 512, tok/s",
    "decode": "decode, tok/s",
    "share": "of the read loop",
    "bytes": "weights, GB",
    "peak_bytes": "peak memory, GB",
}
WIDTHS = (
    ("float32", "float32", None, "float32"),
    ("bfloat16", "bfloat16", None, "bfloat16"),
    ("8 bits", "bfloat16", 8, "q8_0"),
    ("4 bits", "bfloat16", 4, "q4_0"),
)
"""Of `decode`: what is compared, tfcli's --dtype and bits, and llama.cpp's type."""
LLAMA_BENCH = HERE.parents[1] / ".llama-cpp/bin/llama-bench"
TRL = HERE.parents[1] / ".trl/bin/python"
TRAINED = {
    "4m": "llama, 4 M",
    "100m": "llama, 88 M",
    "words": "128,000 words",
    "lora": "LoRA on 88 M",
    "packed": "packed rows, 4 M",
}
"""Of `train`: case -> what it is called."""
SERVE = {
    "one": "one client, tok/s",
    "several": "8 clients, tok/s",
    "first_turn": "first token of 2,000, s",
    "second_turn": "of the second turn, s",
    "after_restart": "after a restart, s",
}
GENERATE = {
    "rows": {
        "first": "first tokens of 8, s",
        "rate": "8 rows, tok/s",
        "longest_step": "longest step, s",
        "peak_bytes": "peak memory, GB",
    },
    "drafts": {
        "plain": "one at a time, tok/s",
        "drafted": "with drafts, tok/s",
        "agree": "models agree",
        "kept": "drafts kept",
    },
    "form": {"free": "free text, tok/s", "held": "by a JSON schema, tok/s"},
    "python": {"greedy": "a token, likeliest, ms", "drawn": "a token, drawn, ms"},
}
"""Of `generate`: case -> figures."""
LONG = ("quantize", "estimate", "serve", "generate")
"""What runs only when it is named."""
TRAIN = {"tokens_per_second": "training, tok/s", "peak_memory_bytes": "peak memory, GB"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    benchmarks = {
        "inference": bench_inference,
        "decode": bench_decode,
        "train": bench_train,
        "startup": bench_startup,
        "families": bench_families,
        "convert": bench_convert,
        "kernels": bench_kernels,
        "quantize": bench_quantize,
        "estimate": bench_estimate,
        "serve": bench_serve,
        "generate": bench_generate,
    }
    names = tuple(benchmarks)
    parser.add_argument(
        "names",
        nargs="*",
        help=f"of {', '.join(names)}; all but {' and '.join(LONG)} if none is named",
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that every side runs")
    parser.add_argument("--steps", type=int, default=60, help="training steps a round")
    parser.add_argument("--cases", help=f"of train: {', '.join(TRAINED)}; all if none is named")
    parser.add_argument("--sizes", default="1b,8b", help="of convert: 1b (2.5 GB), 8b (16 GB)")
    parser.add_argument("--models", default="stdlib,smollm2", help="of quantize")
    parser.add_argument("--bits", default="4,3,2", help="of quantize")
    parser.add_argument("--tokens", type=int, default=1 << 16, help="of quantize: held-out tokens")
    parser.add_argument("--samples", type=int, default=128, help="of quantize: calibration windows")
    parser.add_argument("--methods", help="of quantize: tfcli's, all if none is named")
    parser.add_argument("--peers", help="of quantize: GPTQModel's settings, parted by ';'")
    parser.add_argument("--train-steps", type=int, default=600, help="of quantize: of its stdlib")
    parser.add_argument("--json", action="store_true", help="print one JSON object and no table")
    options = parser.parse_args()
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    found: dict[str, Any] = {"machine": machine(), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory(prefix="tfcli-bench-") as folder:
        for name in options.names or (name for name in names if name not in LONG):
            found[name] = benchmarks[name](Path(folder), options)
            if options.json:
                continue
            if name in ("kernels", "quantize", "estimate"):
                continue  # its lines are shown as they come
            if name in ("inference", "decode", "train", "families", "convert", "generate"):
                for part, sides in found[name].items():
                    show(part, sides)
            else:
                show(name, found[name])
    if options.json:
        print(json.dumps(found))
    else:
        print(f"\n{found['machine']}, {found['threads']} threads")
    return 0


def bench_inference(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Random models of two shapes, in the types that people run them in.

    The prompt is as long as this machine's plain bf16 products allow: without instructions for
    them, 512 tokens of the 1B shape take a minute a side.
    """
    rates = {"bfloat16": operations_per_second(torch.bfloat16)}
    rates["float32"] = operations_per_second(torch.float32)
    found = {}
    for shape, dtype in (("1b", "bfloat16"), ("135m", "float32"), ("135m", "bfloat16")):
        model = folder / f"{shape}-{dtype}"
        say(f"writing a model of the {SHAPES[shape]} shape in {dtype}")
        parameters = side("make.py", str(model), shape, dtype)["parameters"]
        warm_up(model)
        prompt = prompt_length(rates[dtype] / (2 * parameters))
        words = [str(model), dtype, str(prompt)]
        found[f"{SHAPES[shape]}, {dtype}, prompt of {prompt}"] = in_turn(
            {name: ["inference.py", name, *words] for name in ("tfcli", "transformers")},
            options.rounds,
            INFERENCE,
        )
        shutil.rmtree(model)
    return found


def bench_decode(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Weights of several widths beside llama.cpp's own benchmark, as shares of what a plain loop
    reads in the same round. The head, which is tied in both shapes, has 8 bits where blocks have
    4, as llama.cpp's files have."""
    dense, made = folder / "dense", folder / "made"
    found = {}
    for shape, name in SHAPES.items():
        side("make.py", str(dense), shape, "bfloat16")
        for path in stdlib_tokenizer().glob("*token*"):
            shutil.copy(path, dense)
        for label, dtype, bits, kind in WIDTHS:
            source, file = dense, made / "model.gguf"
            if bits is not None:
                source = made / "packed"
                words = ["--method=rtn", f"--bits={bits}", "--group-size=32", "--head=8bit"]
                tfcli("quantize", str(dense), str(source), *words)
            tfcli("convert", str(dense), str(made / "gguf"), "--to=gguf", f"--dtype={kind}")
            (file,) = (made / "gguf").glob("*.gguf")
            sides = {"tfcli": ["tfcli", str(source), dtype]}
            if LLAMA_BENCH.exists():
                sides["llama.cpp"] = ["llama.cpp", str(file)]
            runs: dict[str, list[dict[str, Any]]] = {each: [] for each in sides}
            for _ in range(options.rounds):
                rate = side("decode.py", "read")["read"]
                for each, words in sides.items():
                    run = side("decode.py", *words)
                    runs[each].append(run | {"share": run["decode"] * run["bytes"] / rate})
            found[f"{name}, {label}"] = {
                each: {"runs": told, "figures": summary(told, DECODE)}
                for each, told in runs.items()
            }
            say(f"{name}, {label}: {found[f'{name}, {label}']}")
            shutil.rmtree(made)
        shutil.rmtree(dense)
    return found


def bench_serve(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """A model of random weights over HTTP: several clients beside one, and turns beside each
    other."""
    model = folder / "served"
    side("make.py", str(model), "135m", "bfloat16")
    for path in stdlib_tokenizer().glob("*token*"):
        shutil.copy(path, model)
    return in_turn({"tfcli": ["serving.py", str(model)]}, options.rounds, SERVE)


def bench_generate(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Texts of 8 prompts beside transformers', drafts, texts by a schema, and what Python takes."""
    small, large, two = (folder / name for name in ("135m", "1b", "two"))
    side("make.py", str(small), "135m", "float32")
    rows = ["rows", "tfcli", str(small), "float32"]
    sides = {"tfcli": rows, "transformers": ["rows", "transformers", *rows[2:]]}
    cases = {"rows": ("8 prompts of 16 to 128 tokens, 135 M, float32", sides)}
    side("make.py", str(large), "1b-untied", "float32")
    cases["drafts"] = ("a pair of models, 1B shape, float32", {"tfcli": ["drafts", str(large)]})
    if SMOLLM2.exists():
        cases["form"] = ("SmolLM2-135M-Instruct, Q4_1", {"tfcli": ["form", str(SMOLLM2)]})
    side("make.py", str(two), "two", "float32")
    for path in stdlib_tokenizer().glob("*token*"):
        shutil.copy(path, two)
    cases["python"] = ("two layers", {"tfcli": ["python", str(two)]})
    return {
        label: in_turn(
            {name: ["generating.py", *words] for name, words in started.items()},
            options.rounds,
            GENERATE[case],
        )
        for case, (label, started) in cases.items()
    }


def bench_estimate(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What `tfcli estimate` says beside what runs take."""
    words = [sys.executable, str(HERE / "estimate.py"), str(folder)]
    found = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout or ():
            found.append(json.loads(line))
            told, real = found[-1]["estimate"], found[-1]["measured"]
            say(
                f"| {found[-1]['name']} | {real / 1e6:,.0f} | {told / 1e6:,.0f} "
                f"| {told / real - 1:+.1%} |"
            )
    if run.returncode:
        raise SystemExit(run.returncode)
    return found


def operations_per_second(dtype: torch.dtype) -> float:
    """What torch's plain product does in a second here, the best of three."""
    x, weight = torch.ones(64, 2048, dtype=dtype), torch.ones(2048, 2048, dtype=dtype)
    best = float("inf")
    for _ in range(3):
        began = perf_counter()
        torch.nn.functional.linear(x, weight)
        best = min(best, perf_counter() - began)
    return 2 * x.numel() * weight.shape[0] / best


def prompt_length(tokens_per_second: float) -> int:
    """The largest power of two, from 16 to 512, that such a rate gets through in two seconds."""
    length = 512
    while length > 16 and length > 2 * tokens_per_second:
        length //= 2
    return length


def bench_train(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Models of 4 and 100 M on the quickstart's text, a vocabulary of 128,000 words, LoRA and
    packed rows; bf16 autocast, windows of 256."""
    text, tokenizer = folder / "text", folder / "tokenizer"
    tfcli("data", "python-docs", str(text))
    tfcli("tokenizer", str(text / "train.jsonl"), str(tokenizer))
    data, found = str(text / "train.jsonl"), {}
    for case in options.cases.split(",") if options.cases else TRAINED:
        start, steps = tokenizer, options.steps
        if case in ("lora", "packed"):
            start = folder / case
            side("training.py", case, "base", str(tokenizer), str(start), "0")
        if case in ("100m", "lora", "words"):
            steps = max(12, steps // 5)  # more than the warm-up has
        words = [data, str(start), str(steps)]
        found[TRAINED[case]] = in_turn(_trained(case, words), options.rounds, TRAIN)
    return found


def _trained(case: str, words: list[str]) -> dict[str, list[str]]:
    """The sides of a case of training, and how each is started."""
    if case in ("lora", "packed"):
        if not TRL.is_file():
            say("TRL is left out: scripts/trl makes its environment")
        peer = {"TRL": [str(TRL), str(HERE / "training_trl.py"), case, *words]}
        return {"tfcli": ["training.py", case, "tfcli", *words], **(peer if TRL.is_file() else {})}
    sides = {
        "tfcli": ["training.py", case, "tfcli", *words],
        "transformers + torch loop": ["training.py", case, "plain", *words],
        "transformers Trainer": ["training.py", case, "trainer", *words],
    }
    if case == "4m":
        for name in ("tfcli", "transformers + torch loop"):
            sides[f"{name}, compiled"] = [*sides[name], "compile"]
    return sides


def bench_startup(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Wall time of --help, with a bare Typer app as the floor."""
    bare = folder / "bare.py"
    bare.write_text(
        "import typer\napp = typer.Typer()\n@app.command()\ndef hello(name: str): ...\napp()\n"
    )
    commands = {
        "tfcli": [str(BIN / "tfcli"), "--help"],
        "transformers": [str(BIN / "transformers"), "--help"],
        "a bare Typer app": [sys.executable, str(bare), "--help"],
    }
    # The command itself is timed, in a process that has nothing else to do.
    timed = {name: ["startup.py", *command] for name, command in commands.items()}
    return in_turn(timed, max(options.rounds, 7), {"seconds": "--help, s"})


def bench_families(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Nine families of about 100 M parameters, forward and backward."""
    found = {}
    for name in ("llama", "qwen3", "gemma2", "bert", "t5", "vit", "clip", "whisper", "llava"):
        say(name)
        result = side("families.py", name, str(max(options.rounds, 7)))
        found[f"{name}, {result['parameters'] / 1e6:.0f} M"] = result["sides"]
    return found


def bench_convert(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Conversions of bf16 weights beside `cp` of the same files, from files that are not cached.

    Each side ends when its files are on the disk. `own memory` is the peak of RssAnon above what
    the process holds after its imports; its bound is twice the largest tensor and 256 MB.
    """
    found = {}
    for size in options.sizes.split(","):
        source, target = folder / size, folder / "out"
        say(f"writing a checkpoint of the {size} shape")
        nbytes = side("make_weights.py", str(source), size)["bytes"]
        common = [str(source), str(target)]
        limit = ["--limit", str(2_500_000_000)]
        sides = {
            "cp": ["copying.py", *common],
            "tfcli, to fp16": ["command.py", *limit, "convert", *common, "--dtype", "fp16"],
            "unverified": [
                *["command.py", *limit, "convert", *common, "--dtype", "fp16"],
                *["--verify", "none"],
            ],
            "to GGUF Q8_0": [
                *["command.py", *limit, "convert", *common],
                *["--to", "gguf", "--dtype", "q8_0"],
            ],
        }
        figures = {
            "seconds": "whole process, s",
            "bytes_per_second": "source, GB/s",
            "own_bytes": "own memory, GB",
        }
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for number in range(options.rounds):
            for name, command in sides.items():
                say(f"round {number + 1} of {options.rounds}: {name}")
                shutil.rmtree(target, ignore_errors=True)
                forget(source)
                began = perf_counter()
                run = side(*command)
                run["seconds"] = perf_counter() - began
                runs[name].append(run | {"bytes_per_second": nbytes / run["seconds"]})
        found[f"{size}, {nbytes / 1e9:.1f} GB"] = {
            name: {"runs": each, "figures": summary(each, figures)} for name, each in runs.items()
        }
        shutil.rmtree(target, ignore_errors=True)
        found[f"{size}, headers alone"] = in_turn(
            {
                "inspect": ["startup.py", str(BIN / "tfcli"), "inspect", str(source)],
                "convert --dry-run": [
                    *["startup.py", str(BIN / "tfcli"), "convert", str(source), "--dry-run"],
                    *["--dtype", "fp16"],
                ],
            },
            max(options.rounds, 5),
            {"seconds": "whole process, s"},
        )
        shutil.rmtree(source)
    return found


def bench_kernels(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Products of few rows, ours and torch's, as shares of the rate at which memory is read."""
    return side("products.py", "--rounds", str(max(options.rounds, 5)), quiet=False)


def bench_quantize(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """KL divergence from the dense model, ours beside GPTQModel's; a round is a seed."""
    keys = ["models", "bits", "rounds", "tokens", "samples", "train_steps"]
    keys += [key for key in ("methods", "peers") if getattr(options, key) is not None]
    given = [f"--{key.replace('_', '-')}={getattr(options, key)}" for key in keys]
    return side("quantize.py", *given, quiet=False)


def forget(folder: Path) -> None:
    """Have the system drop the files of a folder from its cache, and write what waits."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_turn(
    commands: dict[str, list[str]], rounds: int, figures: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Run every side `rounds` times in turn; median, lowest and highest of each figure."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            say(f"round {number + 1} of {rounds}: {name}")
            runs[name].append(side(*command))
    return {
        name: {
            "runs": found,
            "figures": summary(found, figures),
        }
        for name, found in runs.items()
    }


def summary(runs: list[dict[str, Any]], figures: dict[str, str]) -> dict[str, list[float]]:
    """Median, lowest and highest of each figure."""
    return {
        label: [scale(key, pick(run[key] for run in runs)) for pick in (median, min, max)]
        for key, label in figures.items()
    }


def side(script: str, *words: str, quiet: bool = True) -> dict[str, Any]:
    """Run a script of this folder and read the JSON object on its last line.

    Args:
        script: its file; or a Python, whose first argument is the script.
        words: its arguments.
        quiet: keep what it says meanwhile to itself, unless it fails.
    """
    peer = script.startswith("/")  # the Python of another environment
    command = [script, *words] if peer else [sys.executable, str(HERE / script), *words]
    errors = subprocess.PIPE if quiet else None
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stderr or '')[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def tfcli(*words: str) -> None:
    """Run a tfcli command that makes something."""
    subprocess.run([str(BIN / "tfcli"), *words, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def warm_up(folder: Path) -> None:
    """Read the files once, so that every round finds them in the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def scale(key: str, value: float) -> float:
    """The unit of the table: GB for bytes."""
    return value / 1e9 if "bytes" in key else value


def show(name: str, found: dict[str, dict[str, Any]]) -> None:
    """A table: a line a figure, a column a side; the median, and lowest to highest."""
    sides = list(found)
    labels = list(found[sides[0]]["figures"])
    if len(name) > 24:
        print(f"\n{name}")
        name = ""
    print(f"\n{name:<24}" + "".join(f"{side:>28}" for side in sides))
    for label in labels:
        cells = []
        for each in sides:
            middle, low, high = found[each]["figures"][label]
            cells.append(f"{number(middle)} ({number(low)} to {number(high)})")
        print(f"{label:<24}" + "".join(f"{cell:>28}" for cell in cells))


def number(value: float) -> str:
    """Three digits, as far as they say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
