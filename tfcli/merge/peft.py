"""PEFT's adapter folders: adapter_config.json, and what each tensor of the weight file is.

Source: the PEFT library's checkpoint format. A tensor is named after the module that it changes,
behind `base_model.model.`. Files that were made of a model's state dict have the adapter's own name
in each key too, such as `default`, and whatever the training wrapped the model in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import WorkError
from tfcli.files import inside
from tfcli.merge.adapter import CONFIG, Adapter, Method
from tfcli.merge.settings import check_peft

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."

# What compilers and distributed training put around a module.
_WRAPPERS = re.compile(
    r"(^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|module(?=\.base_model))\."
)
_NAME = r"(\.[^.]+)?"  # the adapter's own
_ROLES = {
    re.compile(rf"(?P<module>.+)\.lora_A{_NAME}\.weight"): "a",
    re.compile(rf"(?P<module>.+)\.lora_B{_NAME}\.weight"): "b",
    re.compile(rf"(?P<module>.+)\.lora_B{_NAME}\.bias"): "bias",
    re.compile(rf"(?P<module>.+)\.lora_embedding_A{_NAME}"): "embedding_a",
    re.compile(rf"(?P<module>.+)\.lora_embedding_B{_NAME}"): "embedding_b",
    re.compile(rf"(?P<module>.+)\.lora_magnitude_vector({_NAME}\.weight)?"): "magnitude",
    re.compile(rf"(?P<module>.+)\.ia3_l{_NAME}"): "ia3",
}
_ADAPTIVE = {
    re.compile(rf"(?P<module>.+)\.lora_A{_NAME}"): "a",
    re.compile(rf"(?P<module>.+)\.lora_B{_NAME}"): "b",
    re.compile(rf"(?P<module>.+)\.lora_E{_NAME}"): "values",
}
"""The roles of AdaLoRA's tensors, which are no weights of linears."""
_METHODS: dict[str, Method] = {"IA3": "ia3", "ADALORA": "adalora"}
"""PEFT's types but LoRA."""
_WHOLE = re.compile(r"(.+?)(\.base_layer)?(\.weight|\.bias)")
_SAVED, _ORIGINAL = ".modules_to_save.", ".original_module."

_TASKS = {
    "CAUSAL_LM": "causal-lm",
    "SEQ_CLS": "sequence-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
}

# Keys that training needs, or that the tensors' own names and shapes say again.
_READ = {
    "alpha_pattern",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "init_r",
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
    "beta1",
    "beta2",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "deltaT",
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
    "orth_reg_weight",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "target_r",
    "task_type",
    "tfinal",
    "tinit",
    "total_step",
}
# Initial values that also change the base, which the adapter then no longer fits.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def open_peft(folder: Path, config: Mapping[str, Any]) -> Adapter:
    """Open the weights of a folder and sort them.

    Raises:
        WorkError: broken files, or an adapter of a kind that is not merged.
    """
    check_peft(config, str(folder / CONFIG))
    _check(config, str(folder / CONFIG))
    weights = next((name for name in WEIGHTS if (folder / name).exists()), None)
    if weights is None:
        raise WorkError(f"the folder has no {WEIGHTS[0]}", where=str(folder))
    adapter = Adapter(
        folder,
        "PEFT",
        _method(config),
        config,
        open_tensors(inside(folder, weights)),
        scale=lambda module: _scale(config, module),
        rank=lambda module: _rank(config, module),
        base=config.get("base_model_name_or_path"),
        task=_TASKS.get(str(config.get("task_type"))),
        stores_inputs_first=bool(config.get("fan_in_fan_out")),
        keeps_ties=bool(config.get("ensure_weight_tying")),
    )
    for name in adapter.source:
        _sort(adapter, name)
    for module, roles in list(adapter.modules.items()):
        if "values" in roles and not adapter.source[roles["values"]].numel():
            del adapter.modules[module]  # of which AdaLoRA has left no rank
    return adapter


def _sort(adapter: Adapter, name: str) -> None:
    plain = _WRAPPERS.sub(r"\1", name).removeprefix(PREFIX)
    for pattern, role in (_ADAPTIVE if adapter.method == "adalora" else _ROLES).items():
        found = pattern.fullmatch(plain)
        if found:
            adapter.add(found["module"], role, name)
            return
    before, saved, rest = plain.partition(_SAVED)
    if saved:  # behind it, the adapter's name may follow
        own, _, leaf = rest.partition(".")
        adapter.replace(f"{before}.{leaf or own}", name)
        return
    if _ORIGINAL in plain:
        return  # what the saved module stands for
    whole = _WHOLE.fullmatch(plain)
    if whole:
        adapter.replace(whole[1] + whole[3], name)
        if whole[2]:
            adapter.in_place.add(name)
    else:
        adapter.unknown.append(name)


def _method(config: Mapping[str, Any]) -> Method:
    if config["peft_type"] in _METHODS:
        return _METHODS[config["peft_type"]]
    return "dora" if config.get("use_dora") else "lora"


def _rank(config: Mapping[str, Any], module: str) -> int | None:
    """The rank of a module's factors; None where it is theirs alone to say."""
    if config["peft_type"] == "ADALORA":
        return None
    rank: int = _of(config, "rank_pattern", module, config.get("r") or 8)
    return rank


def _scale(config: Mapping[str, Any], module: str) -> float:
    if config["peft_type"] == "ADALORA":
        # Whatever rank training has left; the small number is PEFT's own.
        first: float = config.get("init_r") or 12
        return (config.get("lora_alpha") or first) / (first + 1e-5)
    alpha: float = _of(config, "alpha_pattern", module, config.get("lora_alpha") or 8)
    rank = _rank(config, module)
    assert rank is not None, "LoRA's configs say it"
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _of(config: Mapping[str, Any], key: str, module: str, default: Any) -> Any:
    """The value of the first pattern that fits the end of a module's name."""
    for pattern, value in (config.get(key) or {}).items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            raise WorkError(f"{key}: bad pattern {pattern!r}: {error}", where=CONFIG) from None
    return default


def _check(config: Mapping[str, Any], where: str) -> None:
    kind = config.get("peft_type")
    if kind not in ("LORA", *_METHODS):
        raise WorkError(
            f"peft_type: {kind!r} is not merged",
            where=where,
            fix="merged are PEFT's LORA, ADALORA and IA3, and the adapters that mlx_lm.lora writes",
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
