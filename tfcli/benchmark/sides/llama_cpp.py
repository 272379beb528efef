"""llama.cpp's side, through the package xllamacpp, which brings its server as a library."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import xllamacpp

from tfcli.benchmark.task import Task
from tfcli.errors import WorkError

LEAST_BATCH = 2048
"""llama.cpp's own default for the tokens that it takes at once."""


class LlamaCppSide:
    """A loaded GGUF file, with room for the texts of a task."""

    def __init__(self, task: Task) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = task.model
        # Each of the parallel texts has an equal part of the context.
        params.n_parallel = task.batch_size
        params.n_ctx = task.batch_size * (task.length + task.new_tokens + 1)
        # All prompts go in one batch, so that their continuations begin together.
        params.n_batch = max(LEAST_BATCH, task.batch_size * task.length)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = task.threads
        params.n_gpu_layers = -1 if task.device.startswith("cuda") else 0
        params.warmup, params.verbosity = False, 0
        try:
            self.server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            raise WorkError(f"llama.cpp cannot load it: {error}", where=task.model) from error
        self.task = task

    def ask(self, prompts: list[list[int]], new: int) -> tuple[float, dict[str, Any]]:
        """Seconds that so many new tokens after each prompt take, and what the server says."""
        began = perf_counter()
        answer = self.server.handle_completions(
            {
                "prompt": prompts,
                "max_tokens": new,
                "temperature": 0,
                "ignore_eos": True,
                "cache_prompt": False,
            }
        )
        if "timings" not in answer:
            said = answer.get("error", {}).get("message", "it said nothing")
            raise WorkError(f"llama.cpp made no text: {said}", where=self.task.model)
        return perf_counter() - began, answer["timings"]

    def seconds(self, prompts: list[list[int]]) -> float:
        """One measurement of the task's case; of decode, a token's."""
        if self.task.case != "decode":
            return self.ask(prompts, 1)[0]
        _, timings = self.ask(prompts, self.task.new_tokens)
        # The server counts from the first new token on, which the prompt's pass made.
        return timings["predicted_ms"] / 1000 / (timings["predicted_n"] - 1)
