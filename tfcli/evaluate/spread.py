"""A model to be measured by several processes: whole in each, or its blocks spread over them.

Of a model that is spread every process has its part of each block, and the rest whole: tables,
norms and the head, which score every token. A block is gathered while it runs, so all processes
make the same passes together, each on windows of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.devices import pick_dtype
from tfcli.errors import UsageError, WorkError
from tfcli.models.sharding import is_spread, whole
from tfcli.process_group import Processes, have_group
from tfcli.ready import load_ready
from tfcli.train.strategies.engine import deepspeed_for, require_files
from tfcli.train.strategies.spec import WeightsSection
from tfcli.units import plural

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from tfcli.evaluate.spec import EvalSpec
    from tfcli.models.model import Model


def load_shared(
    spec: EvalSpec, checkpoint: Checkpoint, processes: Processes, console: Console, task: str
) -> Model:
    """The model, as the spec's strategy spreads it; says what runs.

    Raises:
        UsageError: packed weights, which are not spread; a machine that cannot keep them where the
            spec says.
    """
    if spec.strategy is None:
        return load_ready(
            checkpoint,
            console,
            task=task,
            dtype=spec.dtype,
            device=processes.device,
            attention=spec.attention,
            many_rows=True,
            keep_packed=spec.load_in is not None,
        )
    if checkpoint.model_config.quantization is not None or checkpoint.adapter is not None:
        raise UsageError(
            "packed weights and adapters are not spread over processes",
            where="strategy",
            fix="leave out strategy: each process then has the whole model",
        )
    have_group(processes.device)
    how = _SPREAD[spec.strategy]
    model = load_model(
        checkpoint,
        task=task,
        dtype=pick_dtype(spec.dtype, None, processes.device.type),
        device=processes.device,
        attention=spec.attention,
        spread=lambda model: how(model, processes),
    )
    if spec.strategy == "zero3":
        console.note(_by_zero(model, spec.deepspeed, processes))
    else:
        console.note(_share(model, processes, "fully_shard"))
    return model


def _blocks(model: Model) -> list[nn.Module]:
    found = [b for walk in model.walks for b in model.get_submodule(walk.blocks).children()]
    if not found:
        raise UsageError(
            f"{model.config.model_type} has no blocks that could be spread",
            where="strategy",
            fix="leave out strategy: each process then has the whole model",
        )
    return found


def _fully(model: Model, processes: Processes) -> None:
    """Let torch gather each block before it runs."""
    from torch.distributed.fsdp import fully_shard

    mesh = _mesh(processes)
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)


def _in_parts(model: Model, processes: Processes) -> None:
    """Have each process read its part of each block; nothing is gathered by itself."""
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = _mesh(processes)

    def part(tensor: Tensor) -> Tensor:
        if not tensor.ndim:
            return tensor
        return distribute_tensor(tensor, mesh, [Shard(0)], src_data_rank=None)

    for block in _blocks(model):
        _replace(block, part)


_SPREAD = {"fsdp": _fully, "zero3": _in_parts}


def _mesh(processes: Processes) -> DeviceMesh:
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(processes.device.type, (processes.count,))


def _replace(block: nn.Module, make: Callable[[Tensor], Tensor]) -> None:
    """Give each parameter of a block another tensor, one at a time."""
    for name, parameter in list(block.named_parameters()):
        path, _, leaf = name.rpartition(".")
        made = nn.Parameter(make(parameter.detach()), requires_grad=False)
        setattr(block.get_submodule(path), leaf, made)


def _by_zero(model: Model, options: WeightsSection, processes: Processes) -> str:
    """Hand a model whose blocks were read in parts to DeepSpeed, one block at a time; what runs."""
    deepspeed = deepspeed_for(processes.device)
    if options.nvme_path is not None:
        require_files(processes.device, "deepspeed.nvme_path")
    config = _engine_config(options, model.dtype)
    for block in _blocks(model):
        _replace(block, whole)
        deepspeed.zero.Init(module=block, config_dict_or_path=config, dtype=model.dtype)
    inside = {id(each) for block in _blocks(model) for each in block.parameters()}
    engine, *_ = deepspeed.initialize(model=model, config=config)
    beside = [each for each in model.parameters() if id(each) not in inside]
    for parameter in beside:
        parameter.ds_persist = True  # type: ignore[attr-defined]
        parameter.all_gather()  # type: ignore[attr-defined]
    found = type(engine.optimizer).__name__
    if found != "DeepSpeedZeRoOffload" or engine.zero_optimization_stage() != 3:
        raise WorkError(f"the engine made a {found}", where="strategy: zero3")
    return _share(model, processes, f"ZeRO stage 3: {found}")


def _engine_config(options: WeightsSection, dtype: torch.dtype) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": 3, "stage3_param_persistence_threshold": 0}
    if options.offload_weights is not None:
        zero["offload_param"] = {"device": options.offload_weights}
        if options.nvme_path is not None:
            zero["offload_param"]["nvme_path"] = options.nvme_path
    return {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": zero,
        "fp16": {"enabled": dtype == torch.float16},
        "bf16": {"enabled": dtype == torch.bfloat16},
        "steps_per_print": 1 << 60,
    }


def _share(model: Model, processes: Processes, how: str) -> str:
    """How much of the weights this process holds, looked up in the parameters themselves."""
    total = held = 0
    for parameter in model.parameters():
        part = getattr(parameter, "ds_tensor", None)
        size = getattr(parameter, "ds_numel", parameter.numel())
        total += size
        if is_spread(parameter):
            held += parameter.to_local().numel()
        else:
            spread = isinstance(part, Tensor) and not getattr(parameter, "ds_persist", False)
            held += part.numel() if spread and part is not None else size
    if held == total and processes.count > 1:
        raise WorkError("no parameter is spread over the processes", where="strategy")
    return f"{plural(processes.count, 'rank')}, {held / total:.0%} of the weights in each ({how})"
