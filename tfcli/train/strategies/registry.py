"""Strategies by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tfcli.devices import pick_precision
from tfcli.errors import UsageError
from tfcli.process_group import Processes
from tfcli.processes import is_launched
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.accelerate import require_launchers_agree
from tfcli.train.strategies.ddp import DDP
from tfcli.train.strategies.engine import require_files
from tfcli.train.strategies.engine_config import Said, engine_config, read_config
from tfcli.train.strategies.fsdp import FSDP
from tfcli.train.strategies.single import Single
from tfcli.train.strategies.strategy import Strategy
from tfcli.train.strategies.tp import TensorParallel
from tfcli.train.strategies.zero import Zero


def _zero(stage: int, spec: TrainSpec, processes: Processes) -> Strategy:
    said = Said(
        stage=stage,
        options=spec.deepspeed,
        precision=pick_precision(spec.precision, processes.device.type),
        optimizer=spec.optimizer.name,
        clip_norm=spec.clip_norm,
        batch_size=spec.batch_size,
        accumulation=spec.gradient_accumulation,
        processes=processes.count,
    )
    given = read_config(spec.deepspeed.config, said)
    if spec.deepspeed.nvme_path is not None:
        require_files(processes.device, "deepspeed.nvme_path")
    return Zero(processes, stage, lambda hidden_size: engine_config(given, said, hidden_size))


STRATEGIES: dict[str, Callable[[TrainSpec, Processes], Strategy]] = {
    "single": lambda spec, processes: Single(processes),
    "ddp": lambda spec, processes: DDP(processes),
    "zero1": partial(_zero, 1),
    "zero2": partial(_zero, 2),
    "zero3": partial(_zero, 3),
    "fsdp": lambda spec, processes: FSDP(processes, spec.fsdp),
    "tp": lambda spec, processes: TensorParallel(processes, spec.fsdp, spec.tp),
}


def pick_strategy(spec: TrainSpec, processes: Processes) -> Strategy:
    """What a spec asks for; where it says nothing, what fits the processes that were started.

    Raises:
        UsageError: it needs more processes than there are, or fewer.
    """
    name = spec.strategy
    if name is None:
        name = "ddp" if processes.count > 1 else "single"
    require_launchers_agree(name)
    if processes.count > 1 and name == "single":
        raise UsageError(
            f"strategy: single is of one process, and {processes.count} were started",
            where="strategy",
            fix="leave strategy out, or start it without a launcher",
        )
    # A launcher may start one where there were more: nodes come and go.
    if processes.count == 1 and name == "ddp" and not is_launched():
        raise UsageError(
            "strategy: ddp is of several processes, and one was started",
            where="strategy",
            fix="start it with torchrun --nproc-per-node 2, or leave strategy out",
        )
    return STRATEGIES[name](spec, processes)
