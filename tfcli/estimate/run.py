"""`tfcli estimate`: the memory of a recipe's step in each process."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from tfcli.checkpoints.folder import open_base
from tfcli.console import Console
from tfcli.devices import Precision, pick_device, pick_precision
from tfcli.errors import UsageError
from tfcli.estimate.account import Account
from tfcli.estimate.changes import find_changes
from tfcli.estimate.heap import heap_here
from tfcli.estimate.inference import Pass, count_pass
from tfcli.estimate.result import EstimatePart, EstimateResult
from tfcli.estimate.runtime import measure
from tfcli.estimate.spreading import strategy_of
from tfcli.estimate.training import Start, count
from tfcli.evaluate.by_tasks import first_of_heads
from tfcli.evaluate.spec import EvalSpec
from tfcli.generation.spec import GenerateSpec
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.spec import Spec
from tfcli.train.spec import TrainSpec

KNOWN = (TrainSpec, QuantizeSpec, GenerateSpec, EvalSpec)
"""The steps whose memory is counted."""
ORDER = (
    "weights",
    "frozen",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "cache",
    "buffers",
)
_ALONE = "the CUDA context and its libraries, some 0.5 GB, come on top"


@dataclass(frozen=True)
class Question:
    """What is asked beside the step.

    Args:
        processes: together; None for 1.
        device: counted for; None for the step's own, on this machine.
        memory: bytes that each process has, or None.
    """

    processes: int | None = None
    device: Literal["cpu", "cuda"] | None = None
    memory: int | None = None


def estimate(spec: Spec, question: Question, console: Console) -> EstimateResult:
    """What a step takes.

    Raises:
        UsageError: a strategy that does not fit the processes, or a command that is not counted.
        WorkError: as the step.
    """
    if isinstance(spec, TrainSpec):
        return _training(spec, question, console)
    if question.processes not in (None, 1):
        raise UsageError(
            f"{spec.verb} works in one process, or each of several does as much",
            where="--world-size",
            fix="leave it out",
        )
    if isinstance(spec, QuantizeSpec):
        return _quantizing(spec, question)
    if isinstance(spec, GenerateSpec):
        return _running(spec.verb, Pass.of_generate(spec), spec.device, question)
    if isinstance(spec, EvalSpec):
        head = first_of_heads(spec)
        if head is not None:
            raise UsageError(
                f"the memory of eval on {head.file.output_type} is not counted",
                where="task",
                fix="it is that of the model and of a batch of inputs",
            )
        return _running(spec.verb, Pass.of_eval(spec), spec.device, question)
    raise UsageError(
        f"the memory of {spec.verb} is not counted",
        fix=f"name a step of {', '.join(each.verb for each in KNOWN)} by --step",
    )


def estimate_model(
    model: str, context: int | None, rows: int, question: Question
) -> EstimateResult:
    """What a model takes that reads texts of so many tokens."""
    return _running("generate", Pass.of_model(model, context, rows), "auto", question)


def _training(spec: TrainSpec, question: Question, console: Console) -> EstimateResult:
    processes = question.processes or 1
    strategy = strategy_of(spec, processes)
    device = question.device or _device(spec.device)
    start = Start.of(spec)
    precision = _precision(spec, device)
    runtime = 0
    if device == "cpu":
        runtime = measure(strategy=strategy, optimizer={"name": spec.optimizer.name})

    def tried(changed: TrainSpec, processes: int) -> int:
        other = replace(start, spec=changed)
        heap = heap_here() if device == "cpu" else None
        return runtime + count(other, processes=processes, precision=precision, heap=heap).total

    heap = heap_here() if device == "cpu" else None
    account = count(start, processes=processes, precision=precision, heap=heap, console=console)
    whole = runtime + account.total
    changes = []
    if question.memory is not None and whole > question.memory:
        changes = find_changes(spec, processes, question.memory, tried)
    return _result(
        spec.verb,
        spec.model,
        device,
        account,
        runtime,
        question,
        strategy=strategy,
        precision=precision,
    ).model_copy(update={"changes": changes})


def _running(verb: str, run: Pass, device: str, question: Question) -> EstimateResult:
    place = question.device or _device(device)
    on_cpu = place == "cpu"
    account = count_pass(run, heap_here() if on_cpu else None)
    return _result(verb, run.model, place, account, measure() if on_cpu else 0, question)


def _quantizing(spec: QuantizeSpec, question: Question) -> EstimateResult:
    """What the plan of `tfcli quantize --dry-run` comes to, with this machine's runtime."""
    from tfcli.quantize.methods.registry import get_method
    from tfcli.quantize.run import run
    from tfcli.recipe.job import Job

    found = run(spec.model_copy(update={"dry_run": True}), Job())
    assert found.tensor_bytes is not None, "a dry run foresees it"
    parameters = sum(math.prod(tensor.shape) for tensor in open_base(spec.model))
    account = Account({"buffers": found.tensor_bytes}, 0, parameters, None)
    calibrated = get_method(spec.method).calibrated  # then a model runs, as in a training
    runtime = measure() if calibrated else measure("quantize", method=spec.method)
    return _result(spec.verb, spec.model, "cpu", account, runtime, question)


def _result(
    verb: str,
    model: str | None,
    device: Literal["cpu", "cuda"],
    account: Account,
    runtime: int,
    question: Question,
    *,
    strategy: str | None = None,
    precision: str | None = None,
) -> EstimateResult:
    sizes = {name: account.parts.get(name, 0) for name in ORDER}
    sizes |= {"allocator": account.allocator, "runtime": runtime}
    whole = sum(sizes.values())
    return EstimateResult(
        what=verb,
        model=model,
        device=device,
        strategy=strategy,
        processes=question.processes or 1,
        parameters=account.parameters,
        trainable=account.trainable,
        precision=precision,
        parts=[EstimatePart(name=name, bytes=size) for name, size in sizes.items() if size],
        bytes=whole,
        memory=question.memory,
        fits=None if question.memory is None else whole <= question.memory,
        changes=[],
        notes=[_ALONE] if device == "cuda" else [],
    )


def _device(name: str) -> Literal["cpu", "cuda"]:
    return "cuda" if pick_device(name).type == "cuda" else "cpu"


def _precision(spec: TrainSpec, device: str) -> Precision:
    """That of the device that is counted for, which this machine need not have."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return "float32" if spec.precision == "float32" else "bfloat16"
    return pick_precision(spec.precision, device)
