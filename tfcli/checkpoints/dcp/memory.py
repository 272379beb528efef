"""What transformers 5 calls tensors in memory, where it is not what the hub calls them.

A program that loads a DCP folder asks for the names of its model's `state_dict()`. Experts are one
tensor a layer there, [experts, out, in], with gate and up below each other.
Source: transformers/conversion_mapping.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.hf.safetensors import PendingTensor

if TYPE_CHECKING:
    from torch import Tensor

_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj|w1|w2|w3)\.weight")
_FUSED = {"gate_proj": 0, "w1": 0, "up_proj": 1, "w3": 1}
_NAMES = {
    "mixtral": (r"\.block_sparse_moe\.", ".mlp."),
    "gpt_neox": (r"^embed_out\.", "lm_head."),
}
_MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v3")


def memory_name(name: str, config: Mapping[str, Any]) -> str:
    """What a model of transformers 5 calls a tensor of the hub, experts aside."""
    old, new = _NAMES.get(str(config.get("model_type")), ("$^", ""))
    return re.sub(old, new, name)


def as_in_memory(
    tensors: Sequence[PendingTensor], config: Mapping[str, Any]
) -> list[PendingTensor]:
    """The same values under the names, and in the tensors, of a model in memory."""
    stacks: dict[str, dict[tuple[int, int], PendingTensor]] = {}
    found: list[PendingTensor | str] = []
    for item in tensors:
        match = _EXPERT.fullmatch(item.name)
        if match is None or config.get("model_type") not in _MIXTURES:
            found.append(item)
            continue
        part = _FUSED.get(match[3])
        whole = f"{match[1]}.{'down_proj' if part is None else 'gate_up_proj'}"
        if whole not in stacks:
            stacks[whole] = {}
            found.append(whole)
        stacks[whole][int(match[2]), part or 0] = item
    made = [one if isinstance(one, PendingTensor) else _stack(one, stacks[one]) for one in found]
    return [_renamed(item, memory_name(item.name, config)) for item in made]


def _renamed(item: PendingTensor, name: str) -> PendingTensor:
    return PendingTensor(name, item.dtype, item.shape, item.read, item.cast)


def _stack(name: str, parts: Mapping[tuple[int, int], PendingTensor]) -> PendingTensor:
    ordered = [parts[key] for key in sorted(parts)]
    first, kinds = ordered[0], 1 + max(kind for _, kind in parts)
    shape = (len(ordered) // kinds, kinds * first.shape[0], first.shape[1])
    return PendingTensor(name, first.dtype, shape, partial(_stacked, ordered, shape), True)


def _stacked(parts: Sequence[PendingTensor], shape: tuple[int, ...]) -> Tensor:
    import torch

    from tfcli.checkpoints.io.casting import cast
    from tfcli.checkpoints.io.dtypes import torch_dtype

    out = torch.empty(shape, dtype=torch_dtype(parts[0].dtype))
    rows = out.view(-1, parts[0].shape[0], shape[2])
    for target, part in zip(rows, parts, strict=True):
        target.copy_(cast(part.read(), out.dtype, part.name))
    return out
