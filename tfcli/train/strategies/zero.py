"""DeepSpeed's ZeRO: optimizer state, then gradients, then weights are spread over processes
(Rajbhandari et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.errors import WorkError
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.process_group import Processes, have_group
from tfcli.train.gather import Read, led
from tfcli.train.state import (
    OPTIMIZER,
    WEIGHTS,
    Stored,
    Values,
    file_name,
    key_of,
    require_all,
    weights_of,
)
from tfcli.train.strategies.engine import deepspeed_for
from tfcli.train.strategies.strategy import MakeOptimizer, Strategy, packed_whole
from tfcli.units import plural

_CLASSES = {1: "DeepSpeedZeroOptimizer", 2: "DeepSpeedZeroOptimizer"}
_CLASSES[3] = "DeepSpeedZeroOptimizer_Stage3"


class Zero(Strategy):
    """A stage of ZeRO, through DeepSpeed's engine.

    Its checkpoints hold whole tensors, gathered one at a time: every strategy goes on from them.

    Args:
        processes: those that train together.
        stage: 1 spreads the optimizer's state, 2 gradients too, 3 weights too.
        config: what the engine is told, from the size of the model's states.
    """

    def __init__(
        self, processes: Processes, stage: int, config: Callable[[int], Mapping[str, Any]]
    ) -> None:
        super().__init__(processes)
        self.stage, self.config = stage, config
        self.name = f"zero{stage}"
        self.lockstep = stage == 3
        self._engine: Any = None

    def wrap(
        self, model: Model, make_optimizer: MakeOptimizer, clip_norm: float | None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The engine, and its optimizer around the one that is made."""
        deepspeed = deepspeed_for(self.device)
        have_group(self.device)
        model = model.to(self.device)
        inner = make_optimizer(model)
        config = dict(self.config(model.config.width))
        self._engine, optimizer, *_ = deepspeed.initialize(
            model=model, optimizer=inner, config=config
        )
        if self.stage < 3:
            return self._engine, optimizer
        return WholeLogits(self._engine), optimizer

    def uncompiled(self, model: Model) -> Callable[..., ModelOutput]:
        """The model; of stage 3 through the hooks that gather its weights."""
        return WholeLogits(model) if self.stage == 3 else model.forward

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Gradients are reduced in the last part of a step."""
        self._engine.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def backward(self, loss: Tensor, count: Tensor) -> None:
        """See `Strategy.backward`."""
        self._engine.backward(loss * (self.shares / count), scale_wrt_gas=False)

    def update(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None,
        check: Callable[[float], None],
    ) -> float:
        """Clip, move and forget the gradients, which the engine does in one; a norm that is not
        finite is known after that."""
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        check(norm)
        return norm

    def save_weights(self, model: nn.Module, folder: Path) -> None:
        """The first process writes every weight, whole."""
        items = [(name, each, partial(self._read, each)) for name, each in weights_of(model)]
        self._write(folder / file_name(WEIGHTS, 0), items)

    def _read(self, tensor: Tensor) -> Tensor:
        """A parameter or a buffer, whole."""
        import deepspeed
        from deepspeed.utils import safe_get_full_fp32_param

        if tensor.requires_grad:
            full: Tensor = safe_get_full_fp32_param(tensor)
            return full
        with deepspeed.zero.GatheredParameters(self._parted(tensor)):
            return tensor.detach().clone()

    def _parted(self, tensor: Tensor) -> list[Tensor]:
        """What must be gathered to see a tensor whole."""
        return [tensor] if hasattr(tensor, "ds_id") else []

    def save_optimizer(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path
    ) -> Values:
        """The first process writes the state of every weight, whole."""
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link(optimizer)
        keys, values = self._kept(optimizer)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        items = [
            (
                f"{name}/{key}",
                each,
                lambda each=each, key=key: safe_get_full_optimizer_state(each, key),
            )
            for name, each in named
            for key in keys
        ]
        self._write(folder / file_name(OPTIMIZER, 0), items)
        return {f"{name}/{key}": value for name, _ in named for key, value in values.items()}

    def _link(self, optimizer: Any) -> None:
        """Have the engine find the state of every weight. By itself it looks when the first group
        of parameters has moved and the others have no state yet (0.19.8)."""
        if self.stage < 3:
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()

    def _kept(self, optimizer: Any) -> tuple[list[str], Values]:
        """What the inner optimizer keeps of each weight: tensors by name, and numbers."""
        state: Mapping[str, Any] = next(iter(optimizer.optimizer.state.values()), {})
        tensors = [key for key, value in state.items() if torch.is_tensor(value) and value.ndim]
        return tensors, {key: float(v) for key, v in state.items() if key not in tensors}

    def _write(self, path: Path, items: Sequence[tuple[str, Tensor, Read]]) -> None:
        def write(reads: Sequence[Read]) -> None:
            pending = [
                PendingTensor(name, dtype_code(each.dtype), _shape(each), read)
                for (name, each, _), read in zip(items, reads, strict=True)
            ]
            write_safetensors(path, pending)

        led([read for _, _, read in items], self.processes, write)

    def load_weights(self, model: nn.Module, folder: Path) -> None:
        """Give every process its part of what `save_weights` wrote."""
        import deepspeed
        from deepspeed.utils import safe_set_full_fp32_param

        stored = Stored(folder, WEIGHTS)
        for name, tensor in require_all(stored, weights_of(model)).items():
            value = stored.read(name, None).to(self.device)
            if tensor.requires_grad:
                safe_set_full_fp32_param(tensor, value)
            # What the optimizer has and what the next forward pass takes are two things.
            gathered = deepspeed.zero.GatheredParameters(self._parted(tensor), modifier_rank=0)
            with gathered, torch.no_grad():
                tensor.copy_(value)

    def load_optimizer(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        folder: Path,
        values: Mapping[str, Any],
    ) -> None:
        """Give every process its part of what `save_optimizer`, or another strategy, wrote."""
        from deepspeed.utils import safe_set_full_optimizer_state

        stored = Stored(folder, OPTIMIZER)
        keys, numbers = set(), dict(values)
        for name, shape in stored.shapes.items():
            if shape:
                keys.add(key_of(name))
            else:
                numbers[name] = float(stored.read(name, None))
        alike = {key_of(name): value for name, value in numbers.items()}
        engine: Any = optimizer
        spread = "single_partition_of_fp32_groups", "fp32_partitioned_groups_flat"
        for flat in getattr(engine, spread[self.stage == 3]):
            state = {key: torch.zeros_like(flat) for key in keys}
            state |= {key: torch.tensor(value) for key, value in alike.items()}
            engine.optimizer.state[flat] = state
        self._link(optimizer)
        for name, parameter in model.named_parameters():
            for key in keys if parameter.requires_grad else ():
                value = stored.read(f"{name}/{key}", None).to(self.device)
                safe_set_full_optimizer_state(parameter, value, key)

    def open(self, model: Model) -> None:
        """Take the weights from the engine, one at a time, and spread each as torch does."""
        if self.stage < 3:
            return
        import deepspeed
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Replicate, Shard, distribute_tensor

        mesh = init_device_mesh(self.device.type, (self.processes.count,))
        made: dict[int, nn.Parameter] = {}
        for name, held in list(model.named_parameters(remove_duplicate=False)):
            if not self._parted(held):
                continue  # packed weights, which the engine leaves whole
            path, _, leaf = name.rpartition(".")
            if id(held) not in made:
                with deepspeed.zero.GatheredParameters([held]):
                    how = Shard(0) if held.ndim else Replicate()
                    part = distribute_tensor(held.detach(), mesh, [how], src_data_rank=None)
                    mine = part.clone()  # of the part alone: the whole is taken away again
                made[id(held)] = nn.Parameter(mine, requires_grad=held.requires_grad)
            setattr(model.get_submodule(path), leaf, made[id(held)])

    def proof(self, wrapped: nn.Module) -> str:
        """The class of the optimizer that the engine made, and its stage."""
        found = type(self._engine.optimizer).__name__
        if found != _CLASSES[self.stage] or self._engine.zero_optimization_stage() != self.stage:
            raise WorkError(f"the engine made a {found}", where=f"strategy: {self.name}")
        return (
            f"{plural(self.processes.count, 'rank')}, ZeRO stage {self.stage}: {found}"
            f"{packed_whole(wrapped)}"
        )


class WholeLogits(nn.Module):
    """A model that makes all logits at once: a head that is called chunk by chunk would have its
    weight taken away in between."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **given: Any) -> ModelOutput:
        out: ModelOutput = self.inner(**{**given, "return_logits": True})
        return out


def _shape(parameter: Any) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
