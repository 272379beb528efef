"""DeepSpeed's ZeRO: optimizer state, then gradients, then weights are spread over processes
(Rajbhandari et al. 2020)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.devices import Precision
from tfcli.errors import UsageError, WorkError
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.process_group import Processes, have_group
from tfcli.train.gather import Read, led
from tfcli.train.state import OPTIMIZER, WEIGHTS, Stored, Values, file_name
from tfcli.train.strategies.spec import DeepSpeedSection
from tfcli.train.strategies.strategy import MakeOptimizer, Strategy
from tfcli.units import plural

_OURS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
_CLASSES = {1: "DeepSpeedZeroOptimizer", 2: "DeepSpeedZeroOptimizer"}
_CLASSES[3] = "DeepSpeedZeroOptimizer_Stage3"


class Zero(Strategy):
    """A stage of ZeRO, through DeepSpeed's engine.

    Its checkpoints hold whole tensors, gathered one at a time: every strategy goes on from them.

    Args:
        processes: those that train together.
        stage: 1 spreads the optimizer's state, 2 gradients too, 3 weights too.
        options: where these are kept, or a config of DeepSpeed's own.
        precision: of the forward pass.
    """

    def __init__(
        self,
        processes: Processes,
        stage: int,
        options: DeepSpeedSection,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(processes)
        self.stage, self.options, self.precision = stage, options, precision
        self.name = f"zero{stage}"  # type: ignore[misc]
        self.lockstep = stage == 3  # type: ignore[misc]
        self._engine: Any = None

    def config(self, clip_norm: float | None) -> dict[str, Any]:
        """What the engine is told."""
        zero: dict[str, Any] = {}
        given: dict[str, Any] = {}
        if self.options.config is not None:
            given = read_config(Path(self.options.config))
            zero = dict(given.get("zero_optimization", {}))
        for part, place in (
            ("offload_optimizer", self.options.offload_optimizer),
            ("offload_param", self.options.offload_weights),
        ):
            if place is not None:
                zero[part] = {"device": place}
                if place == "nvme":
                    zero[part]["nvme_path"] = self.options.nvme_path
        return {
            **given,
            "train_micro_batch_size_per_gpu": 1,  # the loop counts
            "gradient_accumulation_steps": 1,
            "gradient_clipping": clip_norm or 0.0,
            "zero_optimization": {**zero, "stage": self.stage},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            # Its engine turns off the loop's own autocast on CUDA devices, unless it is told.
            "torch_autocast": {
                "enabled": self.precision == "bfloat16",
                "dtype": "bfloat16",
                "lower_precision_safe_modules": [],
            },
            "steps_per_print": 1 << 60,
        }

    def wrap(
        self, model: Model, make_optimizer: MakeOptimizer, clip_norm: float | None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The engine, and its optimizer around the one that is made."""
        deepspeed = _deepspeed(self.device)
        have_group(self.device)
        model = model.to(self.device)
        inner = make_optimizer(model)
        self._engine, optimizer, *_ = deepspeed.initialize(
            model=model, optimizer=inner, config=self.config(clip_norm)
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
        self._engine.backward(loss * (self.processes.count / count), scale_wrt_gas=False)

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
        from deepspeed.utils import safe_get_full_fp32_param

        items = [
            (name, each, lambda each=each: safe_get_full_fp32_param(each))
            for name, each in model.named_parameters()
            if each.requires_grad
        ]
        self._write(folder / file_name(WEIGHTS, 0), items)

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

    def _write(self, path: Path, items: Sequence[tuple[str, nn.Parameter, Read]]) -> None:
        def write(reads: Sequence[Read]) -> None:
            pending = [
                PendingTensor(name, "F32", _shape(each), read)
                for (name, each, _), read in zip(items, reads, strict=True)
            ]
            write_safetensors(path, pending)

        led([read for _, _, read in items], self.processes, write)

    def load_weights(self, model: nn.Module, folder: Path) -> None:
        """Give every process its part of what `save_weights` wrote."""
        import deepspeed
        from deepspeed.utils import safe_set_full_fp32_param

        stored = Stored(folder, WEIGHTS)
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            value = stored.read(name, None).to(self.device)
            safe_set_full_fp32_param(parameter, value)
            # What the optimizer has and what the next forward pass takes are two things.
            whole = [parameter] if self.stage == 3 else []
            with deepspeed.zero.GatheredParameters(whole, modifier_rank=0), torch.no_grad():
                parameter.copy_(value)

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
        keys = {name.rpartition("/")[2] for name in stored.shapes if stored.shapes[name]}
        numbers = {name.rpartition("/")[2]: value for name, value in values.items()}
        numbers |= {
            name.rpartition("/")[2]: float(stored.read(name, None))
            for name, shape in stored.shapes.items()
            if not shape
        }
        engine: Any = optimizer
        spread = "single_partition_of_fp32_groups", "fp32_partitioned_groups_flat"
        for flat in getattr(engine, spread[self.stage == 3]):
            state = {key: torch.zeros_like(flat) for key in keys}
            state |= {key: torch.tensor(value) for key, value in numbers.items()}
            engine.optimizer.state[flat] = state
        self._link(optimizer)
        for name, parameter in model.named_parameters():
            for key in keys if parameter.requires_grad else ():
                value = stored.read(f"{name}/{key}", None).to(self.device)
                safe_set_full_optimizer_state(parameter, value, key)

    def gathered(self, model: Model) -> AbstractContextManager[object]:
        """Within it every weight is whole in each process."""
        import deepspeed

        if self.stage < 3:
            return super().gathered(model)
        made: AbstractContextManager[object] = deepspeed.zero.GatheredParameters(
            list(model.parameters())
        )
        return made

    def proof(self, wrapped: nn.Module) -> str:
        """The class of the optimizer that the engine made, and its stage."""
        found = type(self._engine.optimizer).__name__
        if found != _CLASSES[self.stage] or self._engine.zero_optimization_stage() != self.stage:
            raise WorkError(f"the engine made a {found}", where=f"strategy: {self.name}")
        return f"{plural(self.processes.count, 'rank')}, ZeRO stage {self.stage}: {found}"


class WholeLogits(nn.Module):
    """A model that makes all logits at once: a head that is called chunk by chunk would have its
    weight taken away in between."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **given: Any) -> ModelOutput:
        out: ModelOutput = self.inner(**{**given, "return_logits": True})
        return out


def read_config(path: Path) -> dict[str, Any]:
    """A config of DeepSpeed's, without what the recipe says.

    Raises:
        UsageError: no JSON object, or a key that the recipe decides.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"is no config of DeepSpeed's: {error}", where=str(path)) from error
    if not isinstance(found, dict):
        raise UsageError("is no config of DeepSpeed's: no JSON object", where=str(path))
    for key in (*_OURS, "optimizer", "scheduler", "gradient_clipping", "fp16", "bf16"):
        if found.get(key) not in (None, "auto"):
            raise UsageError(
                f"{key} is the recipe's: batch_size, gradient_accumulation, optimizer, schedule, "
                "clip_norm and precision",
                where=f"{path}: {key}",
                fix='leave the key out, or write "auto"',
            )
    return {key: value for key, value in found.items() if value != "auto"}


def _shape(parameter: Any) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def _deepspeed(device: torch.device) -> Any:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cpu" if device.type == "cpu" else "cuda")
    try:
        import deepspeed
    except ImportError as error:
        raise UsageError(
            "strategy: zero1, zero2 and zero3 need deepspeed, which is not installed",
            where="strategy",
            fix="pip install 'tfcli[deepspeed]', or strategy: fsdp",
        ) from error
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # It would be compiled at each first start, behind a lock that a killed process leaves closed,
    # and say so on standard output; gloo serves.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
