"""Measures one case of a model that torch runs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
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


@dataclass(frozen=True)
class Taken:
    """What one measurement took: seconds, and joules where they can be read."""

    seconds: float
    joules: float | None


class Watch:
    """Times what is measured, and reads its energy. What comes before `begin` counts for neither.

    Args:
        device: whose energy it is.
    """

    def __init__(self, device: str) -> None:
        meter = find_meter(device)
        self._meter = meter if isinstance(meter, Meter) else None

    def begin(self) -> None:
        """Count from now on."""
        self._before = 0.0 if self._meter is None else self._meter.read()
        self._began = perf_counter()

    def end(self) -> Taken:
        """What was taken since `begin`."""
        seconds = perf_counter() - self._began
        return Taken(seconds, None if self._meter is None else self._meter.since(self._before))


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
    watch = Watch(task.device)

    def once() -> Taken:
        nonlocal cache
        del cache
        watch.begin()
        cache = side.make_cache(positions)
        logits = side.forward(ids, cache)
        if task.case == "prefill":
            wait(task.device)
            return watch.end()
        tokens = logits.argmax(-1, keepdim=True)
        tokens.tolist()  # a text is shown as it is made
        if task.case == "first-token":
            return watch.end()
        watch.begin()
        for _ in range(task.new_tokens - 1):
            tokens = side.forward(tokens, cache).argmax(-1, keepdim=True)
            tokens.tolist()
        return watch.end()

    steps = task.new_tokens - 1 if task.case == "decode" else 1
    seconds, joules = _repeat(task, once, steps)
    memory = {"weights": weights_of(side.model), "cache": side.cache_bytes(cache)}
    answer = _answer(side, task, seconds)
    return replace(answer, joules=joules, memory=memory, work=_work(task, side, ids))


@torch.no_grad()
def _work(task: Task, side: TorchSide, ids: Tensor) -> int:
    """What the case must do in one measured time: bytes to read for decode, products else; 0 of
    other sides, whose work is taken to be tfcli's."""
    if task.side != "tfcli":
        return 0
    if task.case == "train":
        # The backward pass has two products for each of the forward pass's: for inputs and for
        # weights.
        return 3 * count_work(side.model, lambda: side.loss(ids)).operations
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
    watch = Watch(task.device)

    def once(look: bool = False) -> Taken:
        nonlocal gradients, kept
        watch.begin()
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
        return watch.end()

    once(look=True)
    seconds, joules = _repeat(task, once, 1)
    memory = {
        "weights": weights_of(side.model),
        "gradients": gradients,
        "optimizer": optimizer_bytes(optimizer),
        "activations": kept,
    }
    answer = _answer(side, task, seconds)
    return replace(answer, joules=joules, memory=memory, work=_work(task, side, ids))


def _repeat(task: Task, once: Callable[[], Taken], steps: int) -> tuple[list[float], float | None]:
    """Seconds of a step in every measurement, and its joules: their mean.

    Args:
        steps: what one call times.
    """
    once()
    taken = [once() for _ in range(task.repeats)]
    joules = [each.joules for each in taken if each.joules is not None]
    return [each.seconds / steps for each in taken], fmean(joules) / steps if joules else None


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
