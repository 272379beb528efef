"""Strategies by name."""

from __future__ import annotations

from collections.abc import Callable

from tfcli.errors import UsageError
from tfcli.process_group import Processes
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.ddp import DDP
from tfcli.train.strategies.fsdp import FSDP
from tfcli.train.strategies.single import Single
from tfcli.train.strategies.strategy import Strategy
from tfcli.train.strategies.zero import Zero

STRATEGIES: dict[str, Callable[[TrainSpec, Processes], Strategy]] = {
    "single": lambda spec, processes: Single(processes),
    "ddp": lambda spec, processes: DDP(processes),
    "zero1": lambda spec, processes: Zero(processes, 1, spec.deepspeed),
    "zero2": lambda spec, processes: Zero(processes, 2, spec.deepspeed),
    "zero3": lambda spec, processes: Zero(processes, 3, spec.deepspeed),
    "fsdp": lambda spec, processes: FSDP(processes, spec.fsdp),
}


def pick_strategy(spec: TrainSpec, processes: Processes) -> Strategy:
    """What a spec asks for; where it says nothing, what fits the processes that were started.

    Raises:
        UsageError: it needs more processes than there are, or fewer.
    """
    name = spec.strategy
    if name is None:
        name = "ddp" if processes.count > 1 else "single"
    if processes.count > 1 and name == "single":
        raise UsageError(
            f"strategy: single is of one process, and {processes.count} were started",
            where="strategy",
            fix="leave strategy out, or start it without a launcher",
        )
    if processes.count == 1 and name == "ddp":
        raise UsageError(
            "strategy: ddp is of several processes, and one was started",
            where="strategy",
            fix="start it with torchrun --nproc-per-node 2, or leave strategy out",
        )
    return STRATEGIES[name](spec, processes)
