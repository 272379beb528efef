"""Folders of finished steps, made as the executor makes them: real specs, results and records.

Only the work is left out. A renamed field of any spec or result breaks what uses this.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tfcli.benchmark.spec import BenchmarkResult, BenchmarkRow, BenchmarkSpec
from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.spec import EvalResult, EvalSpec
from tfcli.files import write_json
from tfcli.generation.spec import GenerateResult, GenerateSpec
from tfcli.quantize.spec import QuantizeResult, QuantizeSpec
from tfcli.recipe.digests import InputDigests
from tfcli.recipe.record import RECORD, make_record, step_key
from tfcli.recipe.spec import Result, Spec
from tfcli.train.spec import TrainResult, TrainSpec

CONFIG = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
}
COMPRESSION = {"gzip": 2.713, "xz": 2.602, "xz_primed": 2.184}


def finish(spec: Spec, result: Result, files: dict[str, bytes] | None = None) -> Path:
    """A finished step in `spec.output`, with these files."""
    folder = Path(spec.output)  # type: ignore[attr-defined]
    folder.mkdir(parents=True)
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    inputs = InputDigests(spec)
    result_values = result.model_dump(mode="json")
    started = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
    record = make_record(spec, step_key(spec, inputs), inputs, folder, result_values, started)
    write_json(folder / RECORD, record)
    return folder


def metrics(steps: int) -> list[dict[str, Any]]:
    """A falling loss; validation every tenth step, best at the last but one."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        line = {"step": step, "loss": 2 + 6 * math.exp(-step / 10), "lr": 1e-3, "grad_norm": 0.5}
        lines.append({**line, "tokens_per_second": 9000.0 + step})
    for step in range(10, steps + 1, 10):
        lines[step - 1]["val_loss"] = 2.5 + (0.1 if step == steps else 1 / step)
    return lines


def train(root: Path, name: str = "train", size: int = 1_600_000, steps: int = 40) -> Path:
    """A trained model of `size` bytes."""
    data = root / "train.jsonl"
    data.write_text('{"text": "the training text"}\n')
    lines = metrics(steps)
    spec = TrainSpec(
        output=str(root / name), config=CONFIG, tokenizer=str(data), data=str(data), max_steps=steps
    )
    result = TrainResult(
        steps=steps,
        tokens=81_920,
        epochs=1.5,
        parameters=4_016_384,
        train_loss=2.01,
        validation_loss=2.6,
        best_validation_loss=2.525,
        best_step=steps - 10,
        kept="last",
        tokens_per_second=9020.0,
        seconds=125.0,
        learning_rate=1e-3,
        warmup_steps=0,
        dtype="float32",
        precision="bfloat16",
        device="cpu",
        processes=1,
        resumed_from=None,
    )
    log = "".join(json.dumps(line) + "\n" for line in lines)
    weights = name.encode().ljust(size, b"\0")
    files = {"model.safetensors": weights, "config.json": b"{}", "metrics.jsonl": log.encode()}
    return finish(spec, result, files)


def quantize(root: Path, model: Path, method: str, bits: int, *, group: int = 128) -> Path:
    """A quantized model; its size follows its bits."""
    name = f"{method}-{bits}"
    if (root / name).exists():
        name += f"-g{group}"
    data = {"data": str(root / "train.jsonl")} if method == "gptq" else {}
    spec = QuantizeSpec.model_validate(
        {
            "model": str(model),
            "output": str(root / name),
            "method": method,
            "bits": bits,
            "group_size": group,
            **data,
        }
    )
    result = QuantizeResult(
        model=str(model),
        output=spec.output,
        method=method,
        layout="gptq",
        bits=bits,
        group_size=group,
        symmetric=True,
        quantized=7,
        kept=3,
        dropped=0,
        bits_per_weight=bits + 0.16,
        bytes_before=1_600_000,
        bytes_after=bits * 100_000,
        mean_weight_error=0.01,
        files=["model.safetensors"],
        companions=[],
        verified=10,
        tensors=[],
    )
    weights = f"{method}{bits}{group}".encode().ljust(bits * 100_000, b"\0")
    return finish(spec, result, {"model.safetensors": weights, "config.json": b"{}"})


def evaluate(
    root: Path, model: Path, bits_per_byte: float, *, divergence: float | None = None, **more: Any
) -> Path:
    """An eval of a model, with `divergence` from the trained one."""
    data = root / "test.jsonl"
    data.write_text('{"text": "the test text"}\n')
    reference = {}
    if divergence is not None:
        reference = {"reference": str(more.pop("reference", root / "train"))}
    spec = EvalSpec.model_validate(
        {
            "model": str(model),
            "data": str(data),
            "output": str(root / more.pop("name", f"eval-{model.name}")),
            **reference,
        }
    )
    values = {
        "task": "perplexity",
        "data_sha256": "d" * 64,
        "tokenizer_sha256": "t" * 64,
        "window": 512,
        "stride": 256,
        "bos": "first",
        "bos_tokens": 1,
        "dtype": "float32",
        **more,
    }
    conditions = {name: values[name] for name in values.keys() & Conditions.model_fields.keys()}
    result = EvalResult.model_validate(
        {
            "conditions": {**conditions, "samples": more.get("documents", 8), "backend": "tfcli"},
            "measures": [],
            "samples": 8,
            "task": "perplexity",
            "model": str(model),
            "perplexity": 2.0**bits_per_byte * 4,
            "bits_per_byte": bits_per_byte,
            "loss": 2.3,
            "tokens": 17_000,
            "bytes": 52_000,
            "documents": 8,
            "window": 512,
            "stride": 256,
            "bos_tokens": 1,
            "first_token_scored": True,
            "dtype": "float32",
            "device": "cpu",
            "data": str(data),
            "data_sha256": "d" * 64,
            "tokenizer_sha256": "t" * 64,
            "kl_divergence": divergence,
            "same_top_token": None if divergence is None else 1 - 10 * divergence,
            "seconds": 3.0,
            "tokens_per_second": 5_700.0,
            **reference,
            **more,
        }
    )
    return finish(spec, result)


def generate(root: Path, model: Path, prompt: str | None, text: str | None, **more: Any) -> Path:
    """A continuation of a prompt; without one, of the prompts of a file."""
    output = str(root / more.pop("name", "generate"))
    (root / "prompts.txt").write_text("one\nthree\n")
    prompts = str(root / "prompts.txt") if prompt is None else None
    spec = GenerateSpec(model=str(model), prompt=prompt, prompts=prompts, output=output)
    result = GenerateResult.model_validate(
        {
            "model": str(model),
            "task": "causal-lm",
            "prompt": prompt,
            "chat": False,
            "system": None,
            "prompt_ids": [0, 5, 6],
            "token_ids": [7, 8, 9],
            "text": text,
            "finish_reason": "length",
            "temperature": 0.0,
            "top_k": None,
            "top_p": None,
            "seed": 0,
            "dtype": "float32",
            "device": "cpu",
            "cache": "static",
            "seconds": 0.5,
            "tokens_per_second": 128.0,
            **more,
        }
    )
    return finish(spec, result)


def benchmark(root: Path, models: list[Path], **more: Any) -> Path:
    """A benchmark of some models; the second decodes twice as fast as the first, and so on."""
    spec = BenchmarkSpec(
        models=[str(model) for model in models], output=str(root / more.pop("name", "benchmark"))
    )
    rows = [
        BenchmarkRow(
            model=str(model),
            weight_bytes=1_600_000 // (index + 1),
            dtype="float32",
            load_seconds=0.0125,
            first_token_seconds=1.75,
            prefill_tokens_per_second=4321.0,
            decode_tokens_per_second=75.5 * (index + 1),
            peak_memory_bytes=412_000_000,
            private_memory_bytes=205_000_000,
            device_memory_bytes=None,
        )
        for index, model in enumerate(models)
    ]
    result = BenchmarkResult(
        rows=rows, prompt_tokens=512, new_tokens=32, repeats=3, threads=2, device="cpu", **more
    )
    return finish(spec, result)
