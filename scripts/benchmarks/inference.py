"""Time one side on one model: inference.py tfcli|transformers FOLDER DTYPE PROMPT

Both sides: the same prompt, dtype and threads, greedy tokens, libraries imported before the clock
starts, peak memory of this process as the kernel counts it (mapped files included).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Any

import torch

from tfcli.benchmark.memory import peak_memory

NEW, REPEATS = 16, 2
ROWS, ROW = 4, 16  # of a batch, and the tokens that each begins with
Decode = Callable[[list[int]], Iterator[object]]
Forward = Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]]


def tfcli_side(folder: str, dtype: torch.dtype) -> Callable[[], tuple[Decode, Forward]]:
    """What loads a model and gives two functions: from a prompt to new tokens, and one forward
    pass, from ids [b, s] and a cache or None to logits [b, 1, vocab] and the cache."""
    from tfcli.checkpoints.folder import open_model
    from tfcli.console import Console
    from tfcli.devices import dtype_name
    from tfcli.generation.loop import Decoding
    from tfcli.generation.readers import TextReader
    from tfcli.models.registry import get_family
    from tfcli.ready import load_ready

    get_family("llama").model_class("causal-lm")  # imported before the clock
    here = torch.device("cpu")

    def load() -> tuple[Decode, Forward]:
        checkpoint = open_model(folder)
        model = load_ready(checkpoint, Console.silent(), dtype=dtype_name(dtype), device=here)

        def forward(ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
            cache = model.make_cache() if cache is None else cache
            return model(ids, cache=cache, logits_to_keep=1).logits, cache

        def decode(prompt: list[int]) -> Iterator[object]:
            return iter(Decoding(TextReader(model, [prompt]), max_new_tokens=NEW))

        return decode, forward

    return load


def transformers_side(folder: str, dtype: torch.dtype) -> Callable[[], tuple[Decode, Forward]]:
    """The same with transformers, without what its `generate` adds to each step."""
    from transformers import LlamaForCausalLM, logging

    logging.disable_progress_bar()

    def load() -> tuple[Decode, Forward]:
        model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype).eval()

        def forward(ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
            out: Any = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            return out.logits, out.past_key_values

        @torch.inference_mode()
        def decode(prompt: list[int]) -> Iterator[int]:
            ids, cache = torch.tensor([prompt]), None
            for _ in range(NEW):
                logits, cache = forward(ids, cache)
                token = int(logits[0, -1].argmax())
                yield token
                ids = torch.tensor([[token]])

        return decode, forward

    return load


@torch.inference_mode()
def rows_per_second(forward: Forward, rows: int) -> float:
    """Tokens a second that a batch decodes, all rows together."""
    ids = torch.arange(rows * ROW).view(rows, ROW)
    logits, cache = forward(ids, None)
    began = perf_counter()
    for _ in range(NEW):
        logits, cache = forward(logits[:, -1].argmax(-1, keepdim=True), cache)
    return rows * NEW / (perf_counter() - began)


def main() -> None:
    name, folder, dtype, length = sys.argv[1:]
    sides = {"tfcli": tfcli_side, "transformers": transformers_side}
    load = sides[name](folder, getattr(torch, dtype))
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(40_000, (int(length),), generator=generator).tolist()
    began = perf_counter()
    decode, forward = load()
    load_seconds = perf_counter() - began
    next(decode(prompt))
    first_token_seconds = perf_counter() - began
    prefills, decodes, tokens = [], [], []
    for _ in range(REPEATS):
        began = perf_counter()
        steps = decode(prompt)
        tokens = [next(steps)]
        first = perf_counter()
        tokens += steps
        decodes.append(perf_counter() - first)
        prefills.append(first - began)
    result = {
        "load_seconds": load_seconds,
        "first_token_seconds": first_token_seconds,
        "prefill_tokens_per_second": len(prompt) / median(prefills),
        "decode_tokens_per_second": (NEW - 1) / median(decodes),
        "rows_tokens_per_second": median(rows_per_second(forward, ROWS) for _ in range(REPEATS)),
        "row_tokens_per_second": median(rows_per_second(forward, 1) for _ in range(REPEATS)),
        "peak_memory_bytes": peak_memory(),
        "tokens": tokens,
    }
    print(json.dumps(result))


main()
