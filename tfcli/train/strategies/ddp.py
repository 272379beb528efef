"""Several processes, each with the whole model and a share of the data."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tfcli.errors import WorkError
from tfcli.models.model import Model
from tfcli.process_group import have_group
from tfcli.train.strategies.strategy import MakeOptimizer, Strategy


class DDP(Strategy):
    """torch's DistributedDataParallel: gradients are averaged while they are made."""

    name = "ddp"

    def wrap(
        self, model: Model, make_optimizer: MakeOptimizer, clip_norm: float | None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model in DDP's wrapper."""
        have_group(self.device)
        devices = [self.device] if self.device.type == "cuda" else None
        # A tower may have layers behind the one whose states are taken.
        parts = bool(type(model.body).part_configs(model.config))
        wrapped = DistributedDataParallel(
            model.to(self.device), device_ids=devices, find_unused_parameters=parts
        )
        return wrapped, make_optimizer(model)

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Gradients are exchanged in the last part of a step."""
        assert isinstance(wrapped, DistributedDataParallel)
        return nullcontext() if last else wrapped.no_sync()

    def proof(self, wrapped: nn.Module) -> str:
        """The wrapper and how many exchange gradients."""
        if not isinstance(wrapped, DistributedDataParallel):
            raise WorkError("the model is not wrapped in DistributedDataParallel", where="strategy")
        return (
            f"{dist.get_world_size()} processes ({dist.get_backend()}), each with the whole model: "
            f"{type(wrapped).__name__}"
        )
