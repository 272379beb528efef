"""Adapters of mlx-lm: adapter_config.json with `fine_tune_type`, and adapters.safetensors.

Source: https://github.com/ml-explore/mlx-lm (`tuner/lora.py`, `tuner/dora.py`). A layer adds
scale * (x @ lora_a) @ lora_b, so both factors lie transposed to PEFT's; those of a layer of experts
are stored with the experts first. DoRA's `m` is the length of each row, in tables as in linears.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.files import inside
from tfcli.merge.adapter import CONFIG, Adapter, Method
from tfcli.merge.settings import check_mlx

WEIGHTS = "adapters.safetensors"
_ROLES = {"lora_a": "a", "lora_b": "b", "m": "magnitude"}
_TABLE = re.compile(r"(?!embed_out$).*(embed|wte|wpe|embd).*")
# Mixtral's experts have names of their own.
_MIXTRAL = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}


def is_mlx(config: Mapping[str, Any]) -> bool:
    """Whether an adapter_config.json is one of mlx-lm."""
    return "peft_type" not in config and ("fine_tune_type" in config or "lora_parameters" in config)


def open_mlx(folder: Path, config: Mapping[str, Any]) -> Adapter:
    """Open the weights of a folder and sort them.

    Raises:
        WorkError: broken files, or an adapter of a kind that is not merged.
    """
    where = str(folder / CONFIG)
    check_mlx(config, where)
    if not (folder / WEIGHTS).exists():
        raise WorkError(
            f"the folder has no {WEIGHTS}", where=str(folder), fix="it is an adapter of MLX"
        )
    method = config.get("fine_tune_type", "lora")
    if method not in ("lora", "dora", "full"):
        raise WorkError(
            f"fine_tune_type: {method!r} of an MLX adapter is not merged",
            where=where,
            fix="merged are lora, dora and full",
        )
    settings = config.get("lora_parameters") or {}
    scale = 1.0 if method == "full" else _scale(settings)
    source = open_tensors(inside(folder, WEIGHTS))
    chosen: Method = method
    if method == "lora" and any(name.endswith(".m") for name in source):
        chosen = "dora"  # older files have `use_dora` elsewhere
    adapter = Adapter(
        folder,
        "MLX",
        chosen,
        config,
        source,
        scale=lambda module: scale,
        rank=lambda module: settings.get("rank"),
        base=config.get("model"),
        factors=_transposed,
        keeps_ties=True,
        magnitudes_by_column=False,
    )
    for name in source:
        _sort(adapter, name)
    return adapter


def _scale(settings: Mapping[str, Any]) -> float:
    """`scale`; the first versions multiplied it by alpha / rank."""
    scale: float = settings.get("scale", 20.0)
    if "alpha" in settings:
        scale *= settings["alpha"] / settings.get("rank", 8)
    return scale


def _transposed(factor: Tensor) -> Tensor:
    return factor.t() if factor.dim() == 2 else factor


def _sort(adapter: Adapter, name: str) -> None:
    module, _, leaf = name.rpartition(".")
    if leaf not in _ROLES:
        adapter.replace(name, name)
        return
    role = _ROLES[leaf]
    if ".switch_mlp." in module:
        _add_experts(adapter, module, role, name)
        return
    table = role != "magnitude" and _TABLE.fullmatch(module.rpartition(".")[2])
    adapter.add(module, f"embedding_{role}" if table else role, name)


def _add_experts(adapter: Adapter, module: str, role: str, name: str) -> None:
    """Each expert as a module of its own."""
    second = f"{module}.lora_b"
    shape = adapter.source.info(second).shape if second in adapter.source else ()
    if len(shape) != 3 or role == "magnitude":
        raise WorkError(
            f"{short(name)} is not read: the second factor of experts is [experts, out, rank]",
            where=str(adapter.folder),
        )
    before, _, leaf = module.partition(".switch_mlp.")
    leaf = _MIXTRAL.get(leaf, leaf) if before.endswith("block_sparse_moe") else leaf
    for position in range(shape[0]):
        expert = f"{before}.experts.{position}.{leaf}"
        adapter.add(expert, role, name)
        adapter.experts[expert] = position, shape[0]
