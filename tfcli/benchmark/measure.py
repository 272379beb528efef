"""Measures one case of a model that torch runs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import torch
from torch import Tensor

from tfcli.benchmark.energy import Meter, find_meter
from tfcli.benchmark.limits import wait
from tfcli.benchmark.memory import (
    forget_peak,
    gradient_bytes,
    held_memory,
    kept_for_backward,
    optimizer_bytes,
    peak_memory,
    private_memory,
)
from tfcli.benchmark.sides.side import TorchSide
from tfcli.benchmark.task import Answer, Task
from tfcli.benchmark.work import count_work, weights_of

Load = Callable[[Task], TorchSide]
RATE = 1e-5
"""The learning rate of `train`; it changes no time."""


def measure(task: Task, load: Load) -> Answer:
    """Load a model, warm up, and measure the task's case.

    Args:
        load: makes the side's model.
    """
    torch.set_num_threads(task.threads)
    if task.case == "load":
        return _loads(task, load)
    if task.case == "start":
        return _start(task, load)
    before = held_memory() or 0
    side = load(task)
    peak = peak_memory()  # loading may take more than running does
    _forget(task)
    if task.case == "train":
        answer = _train(task, side)
    else:
        answer = _text(task, side)
    return _with_memory(answer, task, before, peak)


def _loads(task: Task, load: Load) -> Answer:
    seconds = []
    for _ in range(task.repeats + 1):
        began = perf_counter()
        side = load(task)
        wait(task.device)
        seconds.append(perf_counter() - began)
        answer = _answer(side, task, seconds[1:])
        del side
        gc.collect()
    return answer


def _start(task: Task, load: Load) -> Answer:
    began = perf_counter()
    side = load(task)
    with torch.inference_mode():
        side.forward(_ids(task, side), side.make_cache(task.length + 1)).argmax(-1).tolist()
    return _answer(side, task, [perf_counter() - began])


@torch.inference_mode()
def _text(task: Task, side: TorchSide) -> Answer:
    """Prefill, the first token, or decoding."""
    ids = _ids(task, side)
    positions = task.length + task.new_tokens
    cache = side.make_cache(positions)

    def once() -> float:
        nonlocal cache
        del cache
        began = perf_counter()
        cache = side.make_cache(positions)
        logits = side.forward(ids, cache)
        if task.case == "prefill":
            wait(task.device)
            return perf_counter() - began
        tokens = logits.argmax(-1, keepdim=True)
        tokens.tolist()  # a text is shown as it is made
        if task.case == "first-token":
            return perf_counter() - began
        began = perf_counter()
        for _ in range(task.new_tokens - 1):
            tokens = side.forward(tokens, cache).argmax(-1, keepdim=True)
            tokens.tolist()
        return (perf_counter() - began) / (task.new_tokens - 1)

    tokens = task.new_tokens - 1 if task.case == "decode" else 1
    seconds, joules = _repeat(task, once, tokens)
    memory = {"weights": weights_of(side.model), "cache": side.cache_bytes(cache)}
    return replace(
        _answer(side, task, seconds), joules=joules, memory=memory, work=_work(task, side, ids)
    )


def _work(task: Task, side: TorchSide, ids: Tensor) -> int:
    """What the case must do in one measured time: bytes to read for decode, products else."""
    cache = side.make_cache(task.length + task.new_tokens)
    if task.case != "decode":
        return count_work(side.model, lambda: side.forward(ids, cache)).operations
    tokens = side.forward(ids, cache).argmax(-1, keepdim=True)
    # Halfway between the first new token and the last, as times are means over them.
    for _ in range((task.new_tokens - 1) // 2):
        tokens = side.forward(tokens, cache).argmax(-1, keepdim=True)
    work = count_work(side.model, lambda: side.forward(tokens, cache))
    return work.weight_bytes + side.filled_bytes(cache)


def _train(task: Task, side: TorchSide) -> Answer:
    ids = _ids(task, side)
    side.model.train()
    optimizer = torch.optim.AdamW(side.model.parameters(), lr=RATE)
    gradients = kept = 0

    def once(look: bool = False) -> float:
        nonlocal gradients, kept
        began = perf_counter()
        if look:
            with kept_for_backward(side.model) as total:
                loss = side.loss(ids)
            kept = total[0]
        else:
            loss = side.loss(ids)
        loss.backward()
        if look:
            gradients = gradient_bytes(side.model)
        optimizer.step()
        optimizer.zero_grad()
        wait(task.device)
        return perf_counter() - began

    once(look=True)
    seconds, joules = _repeat(task, once, 1)
    memory = {
        "weights": weights_of(side.model),
        "gradients": gradients,
        "optimizer": optimizer_bytes(optimizer),
        "activations": kept,
    }
    with torch.no_grad():
        forward = count_work(side.model, lambda: side.loss(ids)).operations
    # The backward pass has two products for each of the forward pass's: for inputs and for weights.
    answer = _answer(side, task, seconds)
    return replace(answer, joules=joules, memory=memory, work=3 * forward)


def _repeat(task: Task, once: Callable[[], float], each: int) -> tuple[list[float], float | None]:
    """Seconds of every measurement, and the joules of one unit of what they time.

    Args:
        each: units in one call.
    """
    once()
    meter = find_meter(task.device)
    before = meter.read() if isinstance(meter, Meter) else 0.0
    seconds = [once() for _ in range(task.repeats)]
    used = meter.since(before) if isinstance(meter, Meter) else None
    return seconds, None if used is None else used / task.repeats / each


def _answer(side: TorchSide, task: Task, seconds: list[float]) -> Answer:
    on_device = task.device.startswith("cuda")
    return Answer(
        seconds=seconds,
        unpacked=side.unpacked,
        peak_bytes=peak_memory(),
        private_bytes=private_memory(),
        device_bytes=torch.cuda.max_memory_allocated(task.device) if on_device else None,
    )


def _forget(task: Task) -> None:
    forget_peak()
    if task.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(task.device)


def _with_memory(answer: Answer, task: Task, before: int, peak: int) -> Answer:
    """The parts of the memory at the most that was held after loading; and the most in all.

    Args:
        before: bytes that the process held before it loaded the model.
        peak: the most until it had.
    """
    on_device = answer.device_bytes is not None
    runtime = 0 if on_device else before
    most = answer.device_bytes if answer.device_bytes is not None else answer.peak_bytes
    parts = {"runtime": runtime, **answer.memory}
    parts["temporary"] = max(0, most - sum(parts.values()))
    names = ("runtime", "weights", "gradients", "optimizer", "activations", "cache", "temporary")
    memory = {name: parts.get(name, 0) for name in names}
    return replace(answer, memory=memory, peak_bytes=max(peak, answer.peak_bytes))


def _ids(task: Task, side: TorchSide) -> Tensor:
    """Random token ids [b, s], equal for equal sizes."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(side.vocabulary, (task.batch_size, task.length), generator=draw)
    return ids.to(task.device)
