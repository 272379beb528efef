"""How a strategy spreads a training, played by one process that stands for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tfcli.errors import UsageError
from tfcli.estimate.live import Live
from tfcli.models.model import Model
from tfcli.models.sharding import is_spread
from tfcli.process_group import Processes
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.fsdp import FSDP
from tfcli.train.strategies.strategy import MakeOptimizer
from tfcli.train.strategies.tp import TensorParallel
from tfcli.train.strategies.zero import WholeLogits

MEGABYTE = 1 << 20
FIRST_BUCKET, BUCKET = MEGABYTE, 25 * MEGABYTE
"""Bytes of DistributedDataParallel's buckets, of which the first one is small."""
BUCKET_NUMBERS, PREFETCHED_NUMBERS = 500_000_000, 50_000_000
"""Numbers in ZeRO's bucket of gradients, and weights that stage 3 gathers ahead, as DeepSpeed has
them where a config says nothing else."""


class Spreading:
    """One process with everything.

    Args:
        spec: of the training.
        processes: together.
    """

    def __init__(self, spec: TrainSpec, processes: int) -> None:
        self.spec, self.processes = spec, processes

    @contextmanager
    def group(self) -> Iterator[None]:
        """Within it there is a group of processes, where the strategy asks for one."""
        yield

    def spread(self, model: Model) -> None:
        """Spread the parameters of a model on the meta device."""

    def wrap(
        self, model: Model, live: Live, make_optimizer: MakeOptimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """What a forward pass calls, and what moves the weights."""
        return model, make_optimizer(model)

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Around the passes of a part of a step."""
        return nullcontext()

    def has_gradient(self, live: Live, parameter: Tensor) -> None:
        """Called when a parameter has its gradient of a pass."""
        if parameter.grad is not None:
            live.is_now(parameter.grad, "gradients")

    def update(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        live: Live,
        clip_norm: float | None,
    ) -> None:
        """Move the weights and forget the gradients."""
        moved = [each for each in model.parameters() if each.grad is not None]
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(moved, clip_norm)
        with live.making("optimizer"):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class CopiesSpreading(Spreading):
    """DDP: gradients are exchanged in buckets, which hold a copy of all of them."""

    def wrap(
        self, model: Model, live: Live, make_optimizer: MakeOptimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model; the wrapper's buckets stay from here on."""
        for size in buckets([p.nbytes for p in model.parameters() if p.requires_grad]):
            live.take("buffers", size)
        return model, make_optimizer(model)


class ShardedSpreading(Spreading):
    """FSDP: `fully_shard` itself, in a group of processes that are not there."""

    def __init__(self, spec: TrainSpec, processes: int) -> None:
        super().__init__(spec, processes)
        self.strategy = self._strategy(Processes(0, processes, torch.device("cpu")))

    def _strategy(self, processes: Processes) -> FSDP:
        return FSDP(processes, self.spec.fsdp)

    @contextmanager
    def group(self) -> Iterator[None]:
        """A group whose exchanges do nothing."""
        from torch.testing._internal.distributed.fake_pg import FakeStore

        if dist.is_initialized():
            raise UsageError(
                "processes were started together, and an estimate is made in one",
                fix="start it without torchrun",
            )
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=self.processes)
        try:
            yield
        finally:
            dist.destroy_process_group()

    def spread(self, model: Model) -> None:
        """See `FSDP.spread`."""
        self.strategy.spread(model)

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """See `FSDP.accumulate`."""
        return self.strategy.accumulate(wrapped, last=last)


class CutSpreading(ShardedSpreading):
    """Tensor parallelism, of which `parallelize` cuts the blocks, and FSDP between the groups.

    The optimizer moves what this process holds: of tensors of several meshes at once torch gathers
    whole ones where none has values, and none in a run.
    """

    def _strategy(self, processes: Processes) -> FSDP:
        return TensorParallel(processes, self.spec.fsdp, self.spec.tp)

    def wrap(
        self, model: Model, live: Live, make_optimizer: MakeOptimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model, and an optimizer of this process's parts."""
        optimizer = make_optimizer(model)
        self._parts: list[tuple[nn.Parameter, nn.Parameter]] = []
        for group in optimizer.param_groups:
            own = [nn.Parameter(_held(each.detach())) for each in group["params"]]
            self._parts += zip(group["params"], own, strict=True)
            group["params"] = own
        return model, optimizer

    def update(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        live: Live,
        clip_norm: float | None,
    ) -> None:
        """Move the parts; torch's clipping takes no tensors of different meshes."""
        moved = [each for each, _ in self._parts if each.grad is not None]
        if clip_norm is not None:
            self.strategy.clip(moved, clip_norm)
        for each, own in self._parts:
            own.grad = None if each.grad is None else _held(each.grad)
        super().update(model, optimizer, live, None)
        for each in moved:
            each.grad = None


def _held(tensor: Tensor) -> Tensor:
    """What this process has of a tensor."""
    return tensor.to_local() if is_spread(tensor) else tensor


class ZeroSpreading(Spreading):
    """DeepSpeed's ZeRO by arithmetic, as its engine (0.19) lays tensors out: flat groups of
    weights, of which each process has a share in its optimizer, one bucket for gradients on their
    way, and for stage 3 the weights of those modules that run now or next.

    Args:
        spec: of the training.
        processes: together.
        stage: 1, 2 or 3.
    """

    def __init__(self, spec: TrainSpec, processes: int, stage: int) -> None:
        super().__init__(spec, processes)
        self.stage = stage

    def wrap(
        self, model: Model, live: Live, make_optimizer: MakeOptimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model, and an optimizer of this process's share of flat weights."""
        optimizer = make_optimizer(model)
        moved = 0
        with live.making("optimizer"):  # the optimizer's own copy of its share
            for group in optimizer.param_groups:
                size = sum(each.numel() for each in group["params"])
                moved += size
                group["params"] = [nn.Parameter(torch.empty(-(-size // self.processes)))]
        live.take("buffers", 4 * min(moved, BUCKET_NUMBERS))
        live.take("gradients", 4 * -(-moved // self.processes))
        if self.stage < 3:
            return model, optimizer
        held = sum(each.numel() for each in model.parameters())
        for parameter in model.parameters():
            live.forget(parameter)
        live.take("weights", 4 * -(-held // self.processes))
        largest = max(
            sum(each.numel() for each in module.parameters(recurse=False))
            for module in model.modules()
        )
        live.take("buffers", 4 * min(held, 2 * largest + PREFETCHED_NUMBERS))
        return WholeLogits(model), optimizer

    def has_gradient(self, live: Live, parameter: Tensor) -> None:
        """A gradient moves into the bucket."""
        parameter.grad = None

    def update(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        live: Live,
        clip_norm: float | None,
    ) -> None:
        """Move the share."""
        with live.making("optimizer"):
            for group in optimizer.param_groups:
                for flat in group["params"]:
                    flat.grad = torch.empty_like(flat)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def buckets(sizes: list[int]) -> list[int]:
    """Bytes of DDP's buckets, from those of the parameters in the order of their use."""
    found: list[int] = []
    now = 0
    for size in reversed(sizes):
        now += size
        if now >= (BUCKET if found else FIRST_BUCKET):
            found.append(now)
            now = 0
    return [*found, now] if now else found


SPREADINGS: dict[str, Callable[[TrainSpec, int], Spreading]] = {
    "single": Spreading,
    "ddp": CopiesSpreading,
    "fsdp": ShardedSpreading,
    "zero1": partial(ZeroSpreading, stage=1),
    "zero2": partial(ZeroSpreading, stage=2),
    "zero3": partial(ZeroSpreading, stage=3),
    "tp": CutSpreading,
}


def spreading_of(spec: TrainSpec, processes: int) -> Spreading:
    """That of a spec's strategy."""
    return SPREADINGS[strategy_of(spec, processes)](spec, processes)


def strategy_of(spec: TrainSpec, processes: int) -> str:
    """The strategy that so many processes would run.

    Raises:
        UsageError: it does not fit that number.
    """
    name = spec.strategy or ("ddp" if processes > 1 else "single")
    if name not in SPREADINGS:
        raise UsageError(
            f"what each process of strategy: {name} holds is not counted",
            where="strategy",
            fix=f"one of {', '.join(SPREADINGS)}",
        )
    if (name == "single" and processes > 1) or (name == "ddp" and processes == 1):
        raise UsageError(
            f"strategy: {name} is of {'one process' if name == 'single' else 'several processes'}, "
            f"and --world-size is {processes}",
            where="strategy",
            fix="leave --strategy out, or give another --world-size",
        )
    return name
