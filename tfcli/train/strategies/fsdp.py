"""Several processes, each with a part of every weight, gradient and optimizer state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tfcli.errors import UsageError, WorkError
from tfcli.models.adapters.adapted import Wrapper
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.quantized import packed_linears
from tfcli.models.sharding import is_spread
from tfcli.process_group import Processes, have_group
from tfcli.train.strategies.spec import FSDPSection
from tfcli.train.strategies.strategy import MakeOptimizer, Strategy, packed_whole
from tfcli.units import plural

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class FSDP(Strategy):
    """torch's `fully_shard`: a block's weights are whole in each process while it runs.

    Args:
        processes: those that train together.
        options: what is spread, and over which of them.

    Raises:
        UsageError: the groups do not share out the processes; offloading from the CPU.
    """

    name = "fsdp"
    lockstep = True

    def __init__(self, processes: Processes, options: FSDPSection) -> None:
        super().__init__(processes)
        self.options = options
        self.mesh_shape()
        if options.cpu_offload and self.device.type == "cpu":
            raise UsageError(
                "everything is on the CPU already", where="fsdp.cpu_offload", fix="leave it out"
            )

    def spread(self, model: Model) -> None:
        """Spread the parameters of a model that has no memory yet."""
        self.shard(model, self.mesh(*self.mesh_shape()))

    def mesh_shape(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The processes that have shares of the data of their own, as a grid, and what its
        dimensions are called: copies, where there are any, and the parts of each.

        Raises:
            UsageError: the groups do not share out the processes.
        """
        count, group = self.shares, self._group
        if count % group:
            raise UsageError(
                f"groups of {group} processes do not make up the {count} of this run",
                where="fsdp.group_size",
                fix=f"a divisor of {count}, or leave it out",
            )
        if group < count:
            return (count // group, group), ("replicate", "shard")
        return (count,), ("shard",)

    def mesh(self, shape: tuple[int, ...], names: tuple[str, ...]) -> DeviceMesh:
        """All processes, as a grid."""
        from torch.distributed.device_mesh import init_device_mesh

        have_group(self.device)
        return init_device_mesh(self.device.type, shape, mesh_dim_names=names)

    def shard(self, model: Model, mesh: DeviceMesh) -> None:
        """Spread every parameter over a grid from `mesh_shape`."""
        from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard

        options: dict[str, Any] = {
            "mesh": mesh,
            "reshard_after_forward": self.options.shard != "grad-op",
        }
        if self.options.gather_dtype == "bfloat16":
            options["mp_policy"] = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
        if self.options.cpu_offload:
            options["offload_policy"] = CPUOffloadPolicy()
        for packed in packed_linears(model).values():
            packed.let_spread()
        for module in units(model, self.options.min_parameters):
            fully_shard(module, **options)
        fully_shard(model, **options)

    @property
    def _group(self) -> int:
        """Shares of the data whose processes hold one copy of the model together."""
        if self.options.shard == "none":
            return 1
        return self.options.group_size or self.shares

    def wrap(
        self, model: Model, make_optimizer: MakeOptimizer, clip_norm: float | None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model itself, whose parameters are spread already."""
        return model, make_optimizer(model)

    def uncompiled(self, model: Model) -> Callable[..., ModelOutput]:
        """The model, whose hooks gather what it runs on."""
        return model

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Gradients are exchanged in the last part of a step."""
        wrapped.set_requires_gradient_sync(last)  # type: ignore[operator]
        return nullcontext()

    def proof(self, wrapped: nn.Module) -> str:
        """How much of the weights this process holds."""
        parameters = list(wrapped.parameters())
        if not all(is_spread(parameter) for parameter in parameters):
            raise WorkError("a parameter is not spread over the processes", where="strategy")
        held = sum(each.to_local().nbytes for each in parameters if is_spread(each))
        share = held / sum(each.nbytes for each in parameters)
        return (
            f"{plural(self.processes.count, 'rank')}, {len(parameters)} sharded parameters, "
            f"{share:.0%} of the weights in each (fully_shard){packed_whole(wrapped)}"
        )


def units(model: Model, least: int | None) -> list[nn.Module]:
    """The modules whose parameters are gathered and let go together, inner ones first.

    Args:
        least: weights that a unit has at least; None takes the blocks of all chains.
    """
    if least is None:
        return [
            block for walk in model.walks for block in model.get_submodule(walk.blocks).children()
        ]
    found: list[nn.Module] = []
    owners = Counter(id(p) for each in model.modules() for p in each.parameters(recurse=False))

    def visit(module: nn.Module) -> int:
        """Take what is large enough; the weights that are left to the module's owner."""
        if isinstance(module, Wrapper):  # what is in it is used beside its own forward
            left = sum(p.numel() for p in module.parameters())
        else:
            left = sum(p.numel() for p in module.parameters(recurse=False))
            left += sum(visit(child) for child in module.children())
        tied = any(owners[id(p)] > 1 for p in module.parameters())  # the whole model gathers it
        if module is model or tied or left < least or isinstance(module, nn.ModuleList):
            return left
        found.append(module)
        return 0

    visit(model)
    return found
