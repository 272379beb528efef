"""How far quantized files are from their dense model: tfcli's beside GPTQModel's.

    quantize.py [--models stdlib,smollm2] [--bits 4,3,2] [--rounds 3] [--tokens 65536] ...
    quantize.py --methods gptq --bits 3,2 --peers 'GPTQModel, act-order;GPTQModel, act-order, mse'
    quantize.py --target-bits 3.5

Round n draws calibration windows with seed n, and all sides read the same ones. Each side writes a
folder in a process of its own; `tfcli.evaluate` opens every folder alike and measures it on text
that no side has seen, in float32. Lines are shown as they come, on stderr. With a budget of bits
the sides are GPTQ within it and in one width, in groups of several sizes.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from main import HERE, number, say, side
from pydantic import ValidationError
from quantize_models import ROOT, SUBJECTS, Subject

from tfcli.checkpoints.folder import open_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.evaluate.score import Distance, score
from tfcli.evaluate.windows import Plan, Window, plan_windows
from tfcli.models.model import Model
from tfcli.quantize.methods.registry import METHODS, get_method
from tfcli.quantize.names import OF_GROUPS
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.text import calibration_text
from tfcli.ready import load_ready
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import load_tokenizer

PEER = ROOT / ".gptqmodel/bin/python"
PEERS: dict[str, dict[str, Any]] = {
    # Its default has act_group_aware on: GAR, an order by activations within the groups.
    "GPTQModel": {},
    "GPTQModel, mse": {"mse": 2.0},
    "GPTQModel, act-order": {"desc_act": True, "act_group_aware": False},
    "GPTQModel, act-order, mse": {"desc_act": True, "act_group_aware": False, "mse": 2.0},
    "GPTQModel, FOEM, mse": {"foem": {"alpha": 0.0, "beta": 0.2}, "mse": 2.0},
}
FIGURES = {
    "mean": "KL mean",
    "median": "median",
    "p99": "99%",
    "p999": "99.9%",
    "same_top": "same top",
    "bits": "bits a weight",
    "seconds": "seconds",
}
WIDTH = 29  # of a side's name


@dataclass(frozen=True)
class HeldOut:
    """Windows of text that no side has seen."""

    documents: list[list[int]]
    windows: list[Window]
    prefix: tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(SUBJECTS))
    parser.add_argument("--bits", default="4,3,2")
    parser.add_argument("--rounds", type=int, default=3, help="seeds of the calibration windows")
    parser.add_argument("--tokens", type=int, default=1 << 16, help="held-out tokens, at least")
    parser.add_argument("--samples", type=int, default=128, help="calibration windows")
    parser.add_argument("--window", type=int, default=512, help="tokens of a window, of all texts")
    parser.add_argument("--methods", default=",".join(METHODS), help="tfcli's")
    parser.add_argument(
        "--peers", default=";".join(PEERS), help="GPTQModel's settings, parted by ';'; '' for none"
    )
    parser.add_argument("--target-bits", type=float, help="a budget, beside single widths below it")
    parser.add_argument("--train-steps", type=int, default=600, help="of the model stdlib")
    options = parser.parse_args()
    unknown = set(options.models.split(",")) - set(SUBJECTS)
    if unknown:
        parser.error(f"unknown model {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    others = set(filter(None, options.peers.split(";"))) - set(PEERS)
    if others:
        parser.error(f"unknown peer {'; '.join(others)}; there are {'; '.join(PEERS)}")
    if options.peers and not PEER.exists():
        say("GPTQModel's rows are left out: scripts/gptqmodel makes its environment")
    found: dict[str, Any] = {}
    for name in options.models.split(","):
        say(f"{name}: its dense model and text")
        subject = SUBJECTS[name](options.train_steps)
        if subject is None:
            say(f"{name} is left out: scripts/released gets its weights")
            continue
        found |= measured(name, subject, options)
    print(json.dumps(found))


def measured(name: str, subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Every side at every width on one model: part -> side -> its runs and figures."""
    dense = loaded(subject.folder)
    held_out = windows_of(subject, options.tokens, options.window)
    scored = sum(window.scored for window in held_out.windows)
    group = group_size(subject.folder)
    found = {}
    if options.target_bits is not None:
        return within(name, subject, options, dense, held_out)
    for bits in map(int, options.bits.split(",")):
        part = f"{name}, {bits} bits, groups of {group}, {scored:,} tokens"
        say(f"\n{part}\n{heading()}")
        runs: dict[str, list[dict[str, Any]]] = {}
        for seed in range(options.rounds):
            for label, folder, seconds in written(subject, bits, group, seed, options):
                run = figures(dense, folder, subject.folder, held_out) | {"seconds": seconds}
                runs.setdefault(label, []).append(run | {"seed": seed})
                say(row(label, {key: [run[key]] for key in FIGURES}))
        found[part] = {
            label: {
                "runs": each,
                "figures": {
                    text: [pick(run[key] for run in each) for pick in (median, min, max)]
                    for key, text in FIGURES.items()
                },
            }
            for label, each in runs.items()
        }
        conclude(runs, options.rounds)
    return found


def within(
    name: str, subject: Subject, options: argparse.Namespace, dense: Model, held_out: HeldOut
) -> dict[str, Any]:
    """GPTQ within a budget beside GPTQ in one width, in groups of several sizes."""
    budget = options.target_bits
    sides = {f"budget of {budget}": {"target_bits": budget}}
    for bits in (int(budget), int(budget) - 1):
        for size in (128, 64, 32):
            sides[f"{bits} bits, groups of {size}"] = {"bits": bits, "group_size": size}
    say(f"\n{name}, at most {budget} bits\n{heading()}")
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in range(options.rounds):
        for label, keys in sides.items():
            with tempfile.TemporaryDirectory(prefix="tfcli-bench-") as made:
                given = {"method": "gptq", **keys, **calibration(subject, seed, options)}
                out = Path(made) / "out"
                done = tfcli_side(subject, out, given)
                run = figures(dense, out, subject.folder, held_out)
                told = json.loads((out / "run.json").read_text())["result"].get("budget")
            run |= {"seconds": done["seconds"], "seed": seed}
            if told is not None:
                run |= {"forecast": told["forecast"], "measured": told["kl_divergence"]}
                say(f"forecast {told['forecast']:.3g}, measured {told['kl_divergence']:.3g}")
            runs.setdefault(label, []).append(run)
            say(row(label, {key: [run[key]] for key in FIGURES}))
    own, *others = runs.items()
    fitting = {k: v for k, v in others if median(run["bits"] for run in v) <= budget}
    best = min(fitting, key=lambda label: median(run["mean"] for run in fitting[label]))
    share = median(r["mean"] for r in own[1]) / median(r["mean"] for r in fitting[best])
    say(f"mean KL within the budget: {share:.2f} of {best}, the best of no more bits")
    return {f"{name}, {budget} bits": runs}


def tfcli_side(subject: Subject, out: Path, keys: dict[str, Any]) -> dict[str, Any]:
    words = [f"--{key.replace('_', '-')}={value}" for key, value in keys.items()]
    return side("command.py", "quantize", str(subject.folder), str(out), *words)


def written(
    subject: Subject, bits: int, group: int, seed: int, options: argparse.Namespace
) -> Iterator[tuple[str, Path, float]]:
    """Each side's folder in turn, with its seconds; it is gone when the next is asked for."""
    with tempfile.TemporaryDirectory(prefix="tfcli-bench-") as made:
        out, ids = Path(made) / "out", Path(made) / "ids.json"
        for method in options.methods.split(","):
            if seed and not get_method(method).calibrated:
                continue  # it would write the same bits
            keys: dict[str, Any] = {"method": method, "bits": bits}
            if method in OF_GROUPS:
                keys["group_size"] = group
            if get_method(method).calibrated:
                keys |= calibration(subject, seed, options)
            try:
                QuantizeSpec(model=str(subject.folder), output=str(out), **keys)
            except ValidationError:
                say(f"{f'tfcli, {method}':<{WIDTH}} is left out: it has no {bits} bits")
                continue
            done = tfcli_side(subject, out, keys)
            yield f"tfcli, {method}", out, done["seconds"]
            shutil.rmtree(out)
        wanted = options.peers.split(";")
        if not PEER.exists():
            return
        ids.write_text(json.dumps(calibration_ids(subject, seed, options)))
        for label, settings in PEERS.items():
            if label not in wanted:
                continue
            settings = {"bits": bits, "group_size": group, "sym": True, **settings}
            words = [str(subject.folder), str(out), str(ids), json.dumps(settings)]
            told = peer(label, words, Path(made))
            if told is not None:
                yield label, out, told["seconds"]
            shutil.rmtree(out, ignore_errors=True)


def calibration(subject: Subject, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What `tfcli quantize` is told of the calibration text."""
    return {
        "data": str(subject.calibration),
        "samples": options.samples,
        "sequence_length": options.window,
        "seed": seed,
    }


def calibration_ids(subject: Subject, seed: int, options: argparse.Namespace) -> list[list[int]]:
    """The windows that it draws then."""
    model = str(subject.folder)
    spec = QuantizeSpec(model=model, output="unused", **calibration(subject, seed, options))
    found = calibration_text(spec, Job(Console.silent()), open_model(model))
    return list(found.windows.tolist())


def peer(label: str, words: Sequence[str], folder: Path) -> dict[str, Any] | None:
    """What GPTQModel's script says; None, told with the reason, where it fails.

    It leaves logs in the folder where it runs.
    """
    command = [str(PEER), str(HERE / "quantize_gptqmodel.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode != 0:
        say(f"{label:<{WIDTH}} failed: {' '.join(done.stderr.splitlines()[-1:])}")
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def loaded(folder: Path) -> Model:
    """A folder of any side in float32, packed weights unpacked."""
    checkpoint = open_model(str(folder))
    here = torch.device("cpu")
    return load_ready(checkpoint, Console.silent(), dtype="float32", device=here, many_rows=True)


def windows_of(subject: Subject, tokens: int, window: int) -> HeldOut:
    """Whole windows from all of the held-out text, as many as have `tokens` to score."""
    tokenizer = load_tokenizer(subject.folder)
    lines = subject.held_out.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    documents = tokenizer.encode_batch(texts, add_special_tokens=False)
    plan = Plan(window, window, len(tokenizer.prefix), each=True, inside=True)
    every = plan_windows([len(ids) for ids in documents], plan)
    whole = [each for each in every if each.length + len(tokenizer.prefix) == window]
    random.Random(0).shuffle(whole)
    taken: list[Window] = []
    for each in whole:
        if sum(one.scored for one in taken) >= tokens:
            break
        taken.append(each)
    else:
        raise SystemExit(f"the held-out text has fewer than {tokens:,} tokens; give less --tokens")
    return HeldOut(documents, taken, tuple(tokenizer.prefix))


def figures(dense: Model, folder: Path, source: Path, held_out: HeldOut) -> dict[str, float]:
    """The distance of a folder's model from the dense one, and what its weights take."""
    scores = score(
        loaded(folder),
        held_out.documents,
        held_out.windows,
        reference=dense,
        prefix=held_out.prefix,
    )
    return asdict(Distance.of(scores)) | {"bits": bits_per_weight(folder, source)}


def bits_per_weight(folder: Path, source: Path) -> float:
    """All bytes that stand for the quantized weights, in bits, over how many weights these are.

    A tensor is quantized when the folder lacks it, or holds it in another shape or in no plain
    type; what stands for it has its module's name.
    """
    dense = {info.name: info for info in open_tensors(source).infos()}
    stored = {info.name: info for info in open_tensors(folder).infos()}

    def kept(name: str) -> bool:
        found = stored.get(name)
        plain = found is not None and found.dtype in ("F32", "F16", "BF16")
        return found is not None and plain and found.shape == dense[name].shape

    replaced = {name for name in dense if not kept(name)}
    modules = {name.removesuffix("weight") for name in replaced}
    parts = [
        info.nbytes
        for name, info in stored.items()
        if not (name in dense and kept(name)) and any(name.startswith(each) for each in modules)
    ]
    return 8 * sum(parts) / sum(dense[name].elements for name in replaced)


def group_size(folder: Path) -> int:
    """128, or the largest below it that divides the inputs of every linear in the blocks."""
    tensors = open_tensors(folder).infos()
    inputs = {info.shape[1] for info in tensors if ".layers." in info.name and len(info.shape) == 2}
    return next(size for size in (128, 64, 32) if all(each % size == 0 for each in inputs))


def heading() -> str:
    return " " * WIDTH + "".join(f"{text:>15}" for text in FIGURES.values())


def row(label: str, found: dict[str, list[float]]) -> str:
    """A side's line: each figure, and where there are several seeds its median."""
    cells = []
    for key, values in found.items():
        value = median(values)
        text = f"{value:.2%}" if key == "same_top" else f"{value:.3g}"
        cells.append(number(value) if key in ("bits", "seconds") else text)
    return f"{label:<{WIDTH}}" + "".join(f"{cell:>15}" for cell in cells)


def conclude(runs: dict[str, list[dict[str, Any]]], rounds: int) -> None:
    """Medians over the seeds, and our GPTQ beside the best that GPTQModel has."""
    if rounds > 1:
        say(f"medians of {rounds} seeds")
        for label, each in runs.items():
            say(row(label, {key: [run[key] for run in each] for key in FIGURES}))
    means = {label: median(run["mean"] for run in each) for label, each in runs.items()}
    peers = [label for label in means if label in PEERS]
    if peers and "tfcli, gptq" in means:
        best = min(peers, key=means.__getitem__)
        say(f"mean KL of tfcli, gptq: {means['tfcli, gptq'] / means[best]:.2f} of {best}, its best")


if __name__ == "__main__":
    main()
