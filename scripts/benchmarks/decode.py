"""Time decoding on one side: decode.py tfcli FOLDER DTYPE | llama.cpp FILE | read

Prints a JSON object. Of a model: tokens a second of a prompt of 512 and of 48 new ones, the bytes
of the weights that one token goes through, and the peak of the memory of its process. Of `read`:
bytes a second of a plain loop over memory. All use as many threads as torch would; llama.cpp is
timed by its own llama-bench, which scripts/llama-cpp makes for this processor.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from products import reader

from tfcli.benchmark.memory import peak_memory

LLAMA_BENCH = Path(__file__).resolve().parents[2] / ".llama-cpp/bin/llama-bench"
PROMPT, FEW, NEW, REPEATS = 512, 16, 48, 3


def tfcli_side(folder: str, dtype: str) -> dict[str, Any]:
    from tfcli.checkpoints.folder import open_model
    from tfcli.console import Console
    from tfcli.generation.loop import Decoding
    from tfcli.generation.readers import TextReader
    from tfcli.ready import load_ready

    model = load_ready(
        open_model(folder), Console.silent(), dtype=dtype, device=torch.device("cpu")
    )

    def times(prompt: list[int], new: int) -> tuple[float, float]:
        began = perf_counter()
        steps = iter(Decoding(TextReader(model, [prompt]), max_new_tokens=new))
        next(steps)
        first = perf_counter()
        count = sum(1 for _ in steps)
        return len(prompt) / (first - began), count / max(perf_counter() - first, 1e-9)

    held = [*model.parameters(), *model.buffers()]
    weights = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in held}
    table = dict(model.body.named_modules())[str(model.body.tokens)].get_parameter("weight")
    head = dict(model.named_modules())["lm_head"]
    if getattr(head, "weight", None) is not table:  # rows are picked from it: one a token
        weights.pop(table.untyped_storage().data_ptr())
    packed = sum(each.nbytes for each in _packs(model))
    return rates(times) | {"bytes": sum(weights.values()) + packed}


def _packs(model: torch.nn.Module) -> list[Any]:
    """What kernels hold of weights beside tensors that the model knows."""
    from tfcli.models.kernels.packed_rows import PackedRows

    found = [each for module in model.modules() for each in vars(module).values()]
    return [each for each in found if isinstance(each, PackedRows)]


def llama_cpp_side(file: str) -> dict[str, Any]:
    words = ["-m", file, "-p", str(PROMPT), "-n", str(NEW), "-r", str(REPEATS), "-o", "json"]
    command = [str(LLAMA_BENCH), *words, "-t", str(torch.get_num_threads())]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    prefill, decode = (next(each for each in told if each[key]) for key in ("n_prompt", "n_gen"))
    return {
        "prefill": median(prefill["samples_ts"]),
        "decode": median(decode["samples_ts"]),
        "bytes": decode["model_size"],
        "peak_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }


def rates(times: Callable[[list[int], int], tuple[float, float]]) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    prompt = torch.randint(100, 3_000, (PROMPT,), generator=draw).tolist()
    times(prompt[:FEW], 4)
    return {
        "prefill": median(times(prompt, 1)[0] for _ in range(REPEATS)),
        "decode": median(times(prompt[:FEW], NEW)[1] for _ in range(REPEATS)),
        "peak_bytes": peak_memory(),
    }


def main() -> None:
    name, *words = sys.argv[1:]
    if name == "read":
        read = reader()
        print(json.dumps({"read": median(read() for _ in range(9))}))
        return
    print(json.dumps(tfcli_side(*words) if name == "tfcli" else llama_cpp_side(*words)))


if __name__ == "__main__":
    main()
