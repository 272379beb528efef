"""The process that measures one model: `python -m tfcli.benchmark.worker '{...}'`.

A process of its own gives each model a clean start: what it holds at most is its own, and no model
runs in what another left behind. Prints one JSON object on stdout, a figure or an error.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch

from tfcli.benchmark.memory import peak_memory, private_memory
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.devices import dtype_name
from tfcli.errors import Problem
from tfcli.generation.loop import Decoding
from tfcli.generation.readers import TextReader
from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.model import Model
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready


@dataclass(frozen=True)
class Task:
    """What to measure. Device and threads are settled by the caller."""

    model: str
    prompt_tokens: int
    new_tokens: int
    repeats: int
    threads: int
    load_in: str | None
    dtype: str
    device: str
    attention: str


def measure(task: Task) -> dict[str, Any]:
    """The fields of a `BenchmarkRow`, measured in this process."""
    torch.set_num_threads(task.threads)
    began = perf_counter()
    model = _load(task)
    loads = [perf_counter() - began]
    prompt = _prompt(model, task.prompt_tokens)
    next(iter(Decoding(TextReader(model, [prompt]), max_new_tokens=1)))
    _wait(task.device)
    first_token = perf_counter() - began
    runs = [_run(model, prompt, task) for _ in range(task.repeats)]
    dtype = dtype_name(model.dtype)
    packed = any(isinstance(each, QuantizedLinear | KernelLinear) for each in model.modules())
    unpacked = model.config.quantization is not None and not packed
    del model
    for _ in range(task.repeats - 1):
        gc.collect()
        began = perf_counter()
        again = _load(task)
        loads.append(perf_counter() - began)
        del again
    return {
        "model": task.model,
        "weight_bytes": _open(task).nbytes,
        "load_in": task.load_in,
        "dtype": dtype,
        "unpacked": unpacked,
        "load_seconds": median(loads),
        "first_token_seconds": first_token,
        "prefill_tokens_per_second": task.prompt_tokens / median(prefill for prefill, _ in runs),
        "decode_tokens_per_second": (task.new_tokens - 1) / median(decode for _, decode in runs),
        "peak_memory_bytes": peak_memory(),
        "private_memory_bytes": private_memory(),
        "device_memory_bytes": torch.cuda.max_memory_allocated(task.device)
        if task.device.startswith("cuda")
        else None,
    }


def _open(task: Task) -> Checkpoint:
    return load_in(open_model(task.model), task.load_in, Console.silent())


def _load(task: Task) -> Model:
    model = load_ready(
        _open(task),
        Console.silent(),
        dtype=task.dtype,
        device=torch.device(task.device),
        attention=task.attention,
        keep_packed=task.load_in is not None,
    )
    _wait(task.device)
    return model


def _run(model: Model, prompt: list[int], task: Task) -> tuple[float, float]:
    """Seconds of the prompt and its first token, and of the tokens after that."""
    began = perf_counter()
    tokens = iter(Decoding(TextReader(model, [prompt]), max_new_tokens=task.new_tokens))
    next(tokens)  # choosing a token waits for the device
    first = perf_counter()
    for _ in tokens:
        pass
    return first - began, perf_counter() - first


def _prompt(model: Model, length: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(model.config.text.vocab_size, (length,), generator=generator).tolist()


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def main() -> int:
    task = Task(**json.loads(sys.argv[1]))
    try:
        answer = {"row": measure(task)}
    except Problem as problem:
        answer = {"error": {"what": problem.what, "where": problem.where, "fix": problem.fix}}
    print(json.dumps({"task": asdict(task), **answer}))  # noqa: T201 - read by the caller
    return 0


if __name__ == "__main__":
    sys.exit(main())
