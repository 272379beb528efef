"""What DeepSpeed's engine is told: what the recipe says, beside a config of DeepSpeed's own.

Such a config is written for a launcher that takes everything from it. Here the recipe decides, so a
value that says something else is an error; "auto" stands for what the recipe says, as in other
tools.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.devices import Precision
from tfcli.errors import UsageError
from tfcli.train.strategies.spec import DeepSpeedSection

AUTO = "auto"
_ELSEWHERE = {
    "optimizer": "optimizer",
    "scheduler": "schedule",
    "torch_autocast": "precision",
    "steps_per_print": "nothing: metrics.jsonl has every step",
}
"""Sections that only the recipe can say, and its key."""


@dataclass(frozen=True)
class Said:
    """What the recipe says.

    Args:
        stage: of ZeRO.
        options: where what is spread is kept, and the config's path.
        precision: of the forward pass.
        optimizer: its name.
        clip_norm: of gradients; None leaves them.
        batch_size: of a forward pass.
        accumulation: forward passes of a step.
        processes: that train together.
    """

    stage: int
    options: DeepSpeedSection
    precision: Precision
    optimizer: str
    clip_norm: float | None
    batch_size: int
    accumulation: int
    processes: int

    def values(self) -> dict[str, Any]:
        """The same in a config's own keys, dotted, with the recipe's key for each."""
        passes = self.batch_size * self.accumulation
        return {
            "train_batch_size": (passes * self.processes, "batch_size, gradient_accumulation"),
            "train_micro_batch_size_per_gpu": (self.batch_size, "batch_size"),
            "gradient_accumulation_steps": (self.accumulation, "gradient_accumulation"),
            "gradient_clipping": (self.clip_norm or 0.0, "clip_norm"),
            "zero_optimization.stage": (self.stage, "strategy"),
            # Weights stay float32, and products are bfloat16: neither of the engine's own modes.
            "fp16.enabled": (False, "precision"),
            "bf16.enabled": (False, "precision"),
            **self._places(),
        }

    def _places(self) -> dict[str, Any]:
        kept = {
            "offload_optimizer": self.options.offload_optimizer,
            "offload_param": self.options.offload_weights,
        }
        found: dict[str, Any] = {}
        for part, place in kept.items():
            key = "offload_weights" if part == "offload_param" else part
            if place is not None:
                found[f"zero_optimization.{part}.device"] = place, f"deepspeed.{key}"
            if place == "nvme":
                path = self.options.nvme_path, "deepspeed.nvme_path"
                found[f"zero_optimization.{part}.nvme_path"] = path
        return found


def engine_config(given: Mapping[str, Any], said: Said, hidden_size: int) -> dict[str, Any]:
    """The config that the engine gets. It counts no passes itself: the loop does.

    Args:
        given: from `read_config`.
        said: the recipe.
        hidden_size: of the model.
    """
    zero = _filled(given.get("zero_optimization", {}), hidden_size)
    for name, (value, _) in said.values().items():
        section, _, key = name.partition(".")
        if section == "zero_optimization":
            part, _, inner = key.rpartition(".")
            (zero.setdefault(part, {}) if part else zero)[inner] = value
    others = {
        key: value
        for key, value in given.items()
        if value != AUTO and key not in ("train_batch_size", "fp16", "bf16", *_ELSEWHERE)
    }
    return {
        **others,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": said.clip_norm or 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        # Its engine turns off the loop's own autocast on CUDA devices, unless it is told.
        "torch_autocast": {
            "enabled": said.precision == "bfloat16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
        "steps_per_print": 1 << 60,
    }


def require_agreement(given: Mapping[str, Any], said: Said) -> None:
    """Refuse a config that says something else than the recipe.

    Raises:
        UsageError: naming the key and the recipe's.
    """
    path = str(said.options.config)
    for key, ours in _ELSEWHERE.items():
        section = given.get(key, AUTO)
        if key == "optimizer" and isinstance(section, Mapping):
            section = dict(section)
            if str(section.get("type")).lower() == said.optimizer:
                del section["type"]
        if any(value != AUTO for value in _leaves(section)):
            raise UsageError(
                f"only the recipe says this: {ours}",
                where=f"{path}: {key}",
                fix='leave the key out, or write "auto"',
            )
    for name, (value, ours) in said.values().items():
        found: Any = given
        for part in name.split("."):
            found = found.get(part, AUTO) if isinstance(found, Mapping) else AUTO
        if found not in (AUTO, None, value):
            raise UsageError(
                f"it is {json.dumps(found)}, and the recipe's {ours} makes it {json.dumps(value)}",
                where=f"{path}: {name}",
                fix='write "auto", which takes the recipe\'s, or change one of the two',
            )


def read_config(path: str | None, said: Said) -> dict[str, Any]:
    """A config of DeepSpeed's that fits the recipe; None has nothing to add.

    Raises:
        UsageError: no JSON object, or one that says something else than the recipe.
    """
    if path is None:
        return {}
    found = _read(path)
    require_agreement(found, said)
    return found


def _read(path: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"is no config of DeepSpeed's: {error}", where=path) from error
    if not isinstance(found, dict):
        raise UsageError("is no config of DeepSpeed's: no JSON object", where=path)
    return found


def stage_of(path: str) -> Any:
    """The stage that a config of DeepSpeed's asks for; None where it says none, or "auto".

    Raises:
        UsageError: as `read_config`.
    """
    stage = _read(path).get("zero_optimization", {}).get("stage", AUTO)
    return None if stage == AUTO else stage


def _filled(section: Mapping[str, Any], hidden_size: int) -> dict[str, Any]:
    """ZeRO's section with numbers in place of "auto": sizes as transformers chooses them, and the
    library's defaults for the rest."""
    sizes = {
        "reduce_bucket_size": hidden_size**2,
        "stage3_prefetch_bucket_size": int(0.9 * hidden_size**2),
        "stage3_param_persistence_threshold": 10 * hidden_size,
    }
    made: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            made[key] = _filled(value, hidden_size)
        elif value != AUTO:
            made[key] = value
        elif key in sizes:
            made[key] = sizes[key]
    return made


def _leaves(value: Any) -> Iterator[Any]:
    """The values of nested sections."""
    if not isinstance(value, Mapping):
        yield value
        return
    for inner in value.values():
        yield from _leaves(inner)
