"""The work of `tfcli benchmark`: one process a model, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import torch

from tfcli.benchmark.spec import BenchmarkResult, BenchmarkRow, BenchmarkSpec
from tfcli.benchmark.worker import Task
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.devices import pick_device
from tfcli.errors import UsageError, WorkError
from tfcli.generation.tasks import CONTINUES, text_task
from tfcli.models.configs.text import TextConfig
from tfcli.quantize.load_in import load_in
from tfcli.recipe.job import Job

PROMPT_TOKENS = 512


def run(spec: BenchmarkSpec, job: Job) -> BenchmarkResult:
    """Measure each model in a process of its own.

    Raises:
        UsageError: more tokens than a model has positions.
        WorkError: a model cannot be loaded or run.
    """
    prompt_tokens = prompt_length(spec)
    threads = spec.threads or torch.get_num_threads()
    device = str(pick_device(spec.device))
    rows = []
    with job.console.progress("benchmark", len(spec.models), "model") as bar:
        for model in spec.models:
            bar.show(model=model)
            task = Task(
                model=model,
                prompt_tokens=prompt_tokens,
                new_tokens=spec.new_tokens,
                repeats=spec.repeats,
                threads=threads,
                load_in=spec.load_in,
                dtype=spec.dtype,
                device=device,
                attention=spec.attention,
            )
            rows.append(BenchmarkRow(**measure_apart(task)))
            bar.advance()
    return BenchmarkResult(
        rows=rows,
        prompt_tokens=prompt_tokens,
        new_tokens=spec.new_tokens,
        repeats=spec.repeats,
        threads=threads,
        device=device,
    )


def prompt_length(spec: BenchmarkSpec) -> int:
    """The tokens of the prompt: as asked for, or what every model has room for.

    Raises:
        UsageError: a model has too few positions, or continues no text.
    """
    limits = {ref: _continuing(ref, spec.load_in).longest_text for ref in spec.models}
    ref, limit = min(limits.items(), key=lambda item: item[1])
    wanted = spec.prompt_tokens or min(PROMPT_TOKENS, limit - spec.new_tokens)
    if wanted < 1 or wanted + spec.new_tokens > limit:
        raise UsageError(
            f"{ref} has {limit:,} positions, too few for {max(wanted, 1):,} tokens of prompt "
            f"and {spec.new_tokens:,} new ones",
            where="prompt_tokens" if spec.prompt_tokens else "new_tokens",
            fix="ask for fewer",
        )
    return wanted


def _continuing(ref: str, word: str | None) -> TextConfig:
    """The config of a model that continues texts: what is timed is a prompt and its continuation.

    Raises:
        UsageError: the model makes no text, or reads its prompt with an encoder, or it cannot be
            loaded as asked.
    """
    config = load_in(open_model(ref), word, Console.silent()).model_config
    if text_task(config) != CONTINUES:
        raise UsageError(
            f"{config.model_type} reads its prompt with an encoder, which is not timed",
            where=ref,
            fix="give models that continue a text",
        )
    return config.text


def measure_apart(task: Task) -> dict[str, Any]:
    """Run the worker and read its answer.

    Raises:
        WorkError: it failed, or was killed, as it is when memory runs out.
    """
    # -P: a file in the current folder must not stand in for a module of the worker.
    command = [sys.executable, "-P", "-m", "tfcli.benchmark.worker", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        killed = done.returncode < 0
        raise WorkError(
            f"measuring stopped by signal {-done.returncode}" if killed else lines[-1],
            where=task.model,
            fix="it may need more memory than there is" if killed else None,
        )
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        error = answer["error"]
        raise WorkError(error["what"], where=error["where"] or task.model, fix=error["fix"])
    return answer["row"]
