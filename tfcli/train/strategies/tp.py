"""Groups of processes that share the heads and rows of every block; the groups share the rest."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tfcli.errors import UsageError, WorkError
from tfcli.models.model import Model
from tfcli.models.sharding import is_spread, parts_of
from tfcli.models.tensor_parallel import parallelize
from tfcli.process_group import Processes
from tfcli.train.strategies.fsdp import FSDP
from tfcli.train.strategies.spec import FSDPSection, TensorParallelSection
from tfcli.units import plural

CUT = "tensor"
"""The dimension of the mesh over which linears are cut."""


class TensorParallel(FSDP):
    """Tensor parallelism within groups of neighbouring ranks, `fully_shard` between them.

    A group sees the same data. What it computes with whole tensors, such as norms and tables, is
    the same in each of its processes, bit for bit.

    Args:
        processes: those that train together.
        options: what is spread between the groups.
        cut: how many processes are a group.

    Raises:
        UsageError: the groups do not share out the processes.
    """

    name = "tp"

    def __init__(
        self, processes: Processes, options: FSDPSection, cut: TensorParallelSection
    ) -> None:
        self.size = cut.size
        if processes.count % self.size:
            raise UsageError(
                f"groups of {self.size} processes do not make up the {processes.count} of this run",
                where="tp.size",
                fix=f"start a multiple of {self.size} processes, or change tp.size",
            )
        super().__init__(processes, options)

    @property
    def share(self) -> int:
        """See `Strategy.share`: a group has one."""
        return self.processes.rank // self.size

    @property
    def shares(self) -> int:
        """See `Strategy.shares`."""
        return self.processes.count // self.size

    def spread(self, model: Model) -> None:
        """See `FSDP.spread`.

        Raises:
            ModelError: a family whose blocks cannot be cut, or heads that a group cannot share.
        """
        shape, names = self.mesh_shape()
        mesh = self.mesh((*shape, self.size), (*names, CUT))
        # torch warns that what is cut twice is gathered in two steps, as it has to be.
        logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
        parallelize(model, mesh[CUT])
        self.shard(model, mesh[names])

    def total(self, value: Tensor) -> Tensor:
        """The sum over the groups; each of a group's processes gives the same."""
        return super().total(value) / self.size

    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
        """See `Strategy.clip`. torch's own does not take tensors of different meshes."""
        squares = torch.zeros((), device=self.device)
        held: list[Tensor] = []
        for each in parameters:
            gradient = each.grad
            assert is_spread(gradient), "every parameter is"
            held.append(gradient.to_local())
            # Others have the same part: each of them counts for its share.
            squares += held[-1].float().square().sum() * (parts_of(gradient) / self.processes.count)
        self.processes.add(squares)
        norm = squares.sqrt()
        if math.isfinite(limit):
            scale = float((limit / (norm + 1e-6)).clamp(max=1.0))  # as `clip_grad_norm_`
            torch._foreach_mul_(held, scale)
        return norm

    def proof(self, wrapped: nn.Module) -> str:
        """How many parameters are cut within a group, and how much this process holds."""
        cut = [
            each
            for each in wrapped.parameters()
            if is_spread(each) and CUT in (each.device_mesh.mesh_dim_names or ())
        ]
        if not cut:
            raise WorkError("no parameter is cut over a group's processes", where="strategy")
        groups = f"{plural(self.shares, 'group')} of {self.size}"
        return f"{groups}, {len(cut)} parameters cut within each; {super().proof(wrapped)}"
