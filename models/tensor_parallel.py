"""Tensor parallelism: each process has some heads of every attention and some rows of every mlp.

It follows from what a family says for calibration: linears that share the input of an attention or
an mlp are cut by their outputs, the next ones, which take what comes out of them, by their inputs
(Shoeybi et al. 2019, "Megatron-LM"). In between nothing is exchanged; after the second, one sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from tfcli.models.calibration import Group
from tfcli.models.errors import ModelError
from tfcli.models.model import Model
from tfcli.models.parts import walks_of

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

Cut = Literal["colwise", "rowwise"]


def tensor_parallel_plan(model: Model) -> dict[str, Cut]:
    """Name of each linear that is cut -> how: `colwise` by its outputs, `rowwise` by its inputs.

    What is not named is whole in every process: tables, norms, routers and the head.

    Raises:
        ModelError: the family declares no walk, or between two of its linears stands what knows of
            all heads (fused or latent projections, norms over all heads, sinks); says where.
    """
    plan: dict[str, Cut] = {}
    for path, pair in _pairs(model):
        first, second = pair
        for name in first:
            plan[f"{path}.{name}"] = "colwise"
        for name in second:
            plan[f"{path}.{name}"] = "rowwise"
    return plan


def parallelize(model: Model, mesh: DeviceMesh) -> None:
    """Cut the linears of a model over the processes of a mesh, before its weights are loaded.

    Args:
        model: from `build`.
        mesh: of one dimension.

    Raises:
        ModelError: see `tensor_parallel_plan`; or heads or rows that the processes cannot share.
    """
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    plan = tensor_parallel_plan(model)
    for name, cut in plan.items():
        if cut == "colwise":
            _require_shares(model, name, mesh.size())
    styles = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel}
    parallelize_module(model, mesh, {name: styles[cut]() for name, cut in plan.items()})
    # What runs between the two sees some heads alone; what follows the second sees all of them.
    for path in {name.rpartition(".")[0] for name, cut in plan.items() if cut == "colwise"}:
        for name, part in model.get_submodule(path).named_children():
            if f"{path}.{name}" not in plan:
                _sum_gradients(part, mesh)


def _sum_gradients(part: nn.Module, mesh: DeviceMesh) -> None:
    """Add up the gradients of what is whole in every process and computes on the process's heads
    alone, such as a norm of queries."""
    from torch.distributed import all_reduce

    def added(gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        all_reduce(total, group=mesh.get_group())
        return total

    seen: dict[str, nn.Parameter] = {}

    def watch(module: nn.Module, inputs: object) -> None:
        # When it runs: loading puts other parameters in the places of those that are here now.
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and seen.get(name) is not parameter:
                parameter.register_hook(added)
                seen[name] = parameter

    part.register_forward_pre_hook(watch)


def _pairs(model: Model) -> Iterator[tuple[str, tuple[Group, Group]]]:
    """The path of each block, with two groups of its linears: one takes what the other gives."""
    if not walks_of(model.body):
        raise _whole(model, model.base(), "the family declares no calibration walk")
    if len(model.walks) > 1:
        raise _whole(model, model.base(), "it has several chains of blocks")
    walk = model.calibration
    for number, block in model.get_submodule(walk.blocks).named_children():
        path = f"{walk.blocks}.{number}"
        stages = [stage.groups for stage in walk.stages(block)]
        for firsts, seconds in zip(stages[::2], stages[1::2], strict=False):
            if len(firsts) != len(seconds):
                raise _whole(model, f"{path}.{firsts[0][0]}", "not every one has a next")
            for pair in zip(firsts, seconds, strict=True):
                _require_divides(model, path, block, pair)
                yield path, pair
        if len(stages) % 2:
            raise _whole(model, f"{path}.{stages[-1][0][0]}", "nothing takes what it gives")


def _require_divides(model: Model, path: str, block: nn.Module, pair: tuple[Group, Group]) -> None:
    """Refuse two groups between which the outputs of some rows are not computed from these alone.

    Raises:
        ModelError: says which, and why.
    """
    name = f"{path}.{pair[0][0]}"
    for linear in (*pair[0], *pair[1]):
        owner = block.get_submodule(linear.rpartition(".")[0])
        if not getattr(owner, "divides", False):
            raise _whole(model, name, f"{type(owner).__name__} takes all of its outputs together")
    gives = takes = 0
    for linear in (*pair[0], *pair[1]):
        found = block.get_submodule(linear)
        if not isinstance(found, nn.Linear):
            raise _whole(model, f"{path}.{linear}", "its weights are packed")
        if linear in pair[0]:
            gives = max(gives, found.out_features)
        else:
            takes = found.in_features
    if gives != takes:
        raise _whole(model, name, f"it gives {gives} values, and {pair[1][0]} takes {takes}")


def _require_shares(model: Model, name: str, processes: int) -> None:
    """Refuse a linear whose outputs, or whose heads where it has any, are no multiple of them."""
    owner, linear = model.get_submodule(name.rpartition(".")[0]), model.get_submodule(name)
    assert isinstance(linear, nn.Linear), "the plan has no others"
    width = getattr(owner, "head_dim", None)
    count = linear.out_features // (width or 1)
    if count % processes:
        raise ModelError(
            f"{name} has {count} {'outputs' if width is None else 'heads'}, which {processes} "
            "processes cannot share",
            where=type(model).__name__,
            fix="use a number of processes that divides it",
        )


def _whole(model: Model, name: str, why: str) -> ModelError:
    return ModelError(
        f"{model.config.model_type} cannot be cut for tensor parallelism at {name}: {why}",
        where=type(model).__name__,
        fix="shard its parameters instead (fully_shard)",
    )
