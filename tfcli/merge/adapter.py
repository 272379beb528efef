"""PEFT's adapter folders: adapter_config.json, and what each tensor of the weight file is.

Source: the PEFT library's checkpoint format. A tensor is named after the module that it changes,
behind `base_model.model.`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from tfcli.checkpoints.folder import read_object
from tfcli.checkpoints.hf.source import TensorSource, open_tensors
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError, WorkError
from tfcli.files import inside
from tfcli.hub import resolve

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."

_ROLES = {
    re.compile(r"(?P<module>.+)\.lora_A\.weight"): "a",
    re.compile(r"(?P<module>.+)\.lora_B\.weight"): "b",
    re.compile(r"(?P<module>.+)\.lora_B\.bias"): "bias",
    re.compile(r"(?P<module>.+)\.lora_embedding_A"): "embedding_a",
    re.compile(r"(?P<module>.+)\.lora_embedding_B"): "embedding_b",
    re.compile(r"(?P<module>.+)\.lora_magnitude_vector(\.weight)?"): "magnitude",
    re.compile(r"(?P<module>.+)\.ia3_l"): "ia3",
}
_WHOLE = re.compile(r"(.+?)(?:\.base_layer|\.modules_to_save)?(\.weight|\.bias)")

# Keys that training needs, or that the tensors' own names and shapes say again.
_READ = {
    "alpha_pattern",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "init_lora_weights",
    "lora_alpha",
    "peft_type",
    "r",
    "rank_pattern",
    "use_dora",
    "use_rslora",
}
_NO_EFFECT = {
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_bias",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
}
# Initial values that also change the base, which the adapter then no longer fits.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class Adapter:
    """An opened adapter.

    Args:
        folder: where it lies.
        config: the content of adapter_config.json.
        source: its tensors.
        modules: module -> role of a tensor -> the tensor's name.
        whole: parameter -> the name of the tensor that takes its place.
        unknown: tensors that are neither.
    """

    folder: Path
    config: Mapping[str, Any]
    source: TensorSource
    modules: dict[str, dict[str, str]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of its tensors."""
        return tuple(file.path for file in self.source.files)

    @property
    def method(self) -> str:
        """`lora`, `dora` or `ia3`."""
        if self.config["peft_type"] == "IA3":
            return "ia3"
        return "dora" if self.config.get("use_dora") else "lora"

    @property
    def stores_inputs_first(self) -> bool:
        """What the config says of the linears' weights: stored [in, out]."""
        return bool(self.config.get("fan_in_fan_out"))

    @property
    def keeps_ties(self) -> bool:
        """Whether a change of a tied tensor was trained as one of its partner too."""
        return bool(self.config.get("ensure_weight_tying"))

    def tensor(self, module: str, role: str) -> Tensor | None:
        """A tensor of a module by its role; None if there is none."""
        name = self.modules[module].get(role)
        return None if name is None else self.source[name]

    def rank(self, module: str) -> int:
        """The rank that the config gives a module."""
        return _number(self._of("rank_pattern", module, self.config.get("r", 8)), "r")

    def scale(self, module: str) -> float:
        """What the product of a module's two factors is multiplied by."""
        alpha = _number(
            self._of("alpha_pattern", module, self.config.get("lora_alpha", 8)), "alpha"
        )
        rank = self.rank(module)
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _of(self, key: str, module: str, default: Any) -> Any:
        """The value of the first pattern that fits the end of a module's name."""
        for pattern, value in (self.config.get(key) or {}).items():
            try:
                if re.match(rf"(.*\.)?({pattern})$", module):
                    return value
            except re.error as error:
                raise WorkError(f"{key}: bad pattern {pattern!r}: {error}", where=CONFIG) from None
        return default


def open_adapter(ref: str) -> Adapter:
    """Open an adapter folder or a hub id and sort its tensors.

    Raises:
        UsageError: no such folder, or one that holds no adapter.
        WorkError: broken files, or an adapter of a kind that is not merged.
    """
    folder = resolve(ref)
    if not folder.is_dir() or not (folder / CONFIG).exists():
        raise UsageError(
            f"{folder} holds no {CONFIG}",
            where="adapter",
            fix="name the folder that PEFT's save_pretrained wrote",
        )
    config = read_object(folder, CONFIG)
    _check(config, str(folder / CONFIG))
    weights = next((name for name in WEIGHTS if (folder / name).exists()), None)
    if weights is None:
        raise WorkError(f"the folder has no {WEIGHTS[0]}", where=str(folder))
    adapter = Adapter(folder, config, open_tensors(inside(folder, weights)))
    for name in adapter.source:
        _sort(adapter, name)
    return adapter


def _sort(adapter: Adapter, name: str) -> None:
    plain = name.removeprefix(PREFIX)
    for pattern, role in _ROLES.items():
        found = pattern.fullmatch(plain)
        if found:
            roles = adapter.modules.setdefault(found["module"], {})
            if role in roles:
                raise WorkError(
                    f"{short(roles[role])} and {short(name)} are the same part of a module",
                    where=str(adapter.folder),
                )
            roles[role] = name
            return
    whole = _WHOLE.fullmatch(plain)
    if whole:
        adapter.whole[whole[1] + whole[2]] = name
    else:
        adapter.unknown.append(name)


def _check(config: Mapping[str, Any], where: str) -> None:
    kind = config.get("peft_type")
    if kind not in ("LORA", "IA3"):
        raise WorkError(
            f"peft_type: {kind!r} is not merged", where=where, fix="merged are LORA and IA3"
        )
    for key, value in config.items():
        if value and key not in _READ and key not in _NO_EFFECT:
            raise WorkError(
                f"{key}: {value!r} changes what the adapter computes, and is not merged",
                where=where,
                fix="merge it with the PEFT version that wrote it",
            )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise WorkError(
            f"init_lora_weights: {start!r} changed the base too, which the adapter alone does not "
            "hold",
            where=where,
            fix="save it as a plain LoRA: PEFT's path_initial_model_for_weight_conversion",
        )
    for key in ("rank_pattern", "alpha_pattern"):
        if not isinstance(config.get(key) or {}, dict):
            raise WorkError(f"{key}: expected an object", where=where)


def _number(value: Any, key: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise WorkError(f"{key}: {value!r} is no number above 0", where=CONFIG)
    return value
