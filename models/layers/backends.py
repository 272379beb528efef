"""Attention backends: one function each, chosen by name.

Every function takes query [b, heads, q, head_dim], key and value [b, kv_heads, k, head_dim] with
heads a multiple of kv_heads, and returns [b, heads, q, head_dim].
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from tfcli.models.errors import ModelError, hint
from tfcli.models.layers.masks import AttentionMask

Backend = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, AttentionMask, float, float], torch.Tensor
]


def attention_weights(
    query: torch.Tensor, key: torch.Tensor, mask: AttentionMask, scale: float
) -> torch.Tensor:
    """Softmax of the scores, computed in float32. Returns [b, heads, q, k] in query's dtype."""
    key = repeat_heads(key, query.shape[1])
    scores = (query @ key.transpose(-1, -2)).float() * scale
    dense = mask.dense
    if mask.causal:
        dense = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if dense is not None:
        scores = scores.masked_fill(~dense, float("-inf"))
    return scores.softmax(-1).to(query.dtype)


def eager(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """The formula, step by step: the reference that the others are tested against."""
    weights = F.dropout(attention_weights(query, key, mask, scale), dropout, dropout > 0)
    return weights @ repeat_heads(value, query.shape[1])


def sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """torch's scaled_dot_product_attention, which picks the best kernel it has."""
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask.dense,
        dropout_p=dropout,
        is_causal=mask.causal,
        scale=scale,
        # Without it, keys would be repeated: at 4096 positions that copy costs a decoding step
        # thirty times the attention itself.
        enable_gqa=query.shape[1] != key.shape[1],
    )


def flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """torch's flash kernel and no other."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if query.device.type != "cpu" and mask.dense is not None:
        raise ModelError(
            "flash attention takes no padding and no cached prefix",
            where="attention=flash",
            fix="use attention=sdpa or attention=flex",
        )
    if query.device.type == "cpu" and dropout > 0:
        raise ModelError(
            "flash attention has no dropout on a CPU",
            where="attention=flash",
            fix="use attention=sdpa, or set the attention dropout to 0",
        )
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return sdpa(query, key, value, mask, scale, dropout)


def flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """torch's flex_attention: compiled on an accelerator, its reference on a CPU."""
    if dropout > 0:
        raise ModelError(
            "flex attention has no dropout",
            where="attention=flex",
            fix="use attention=sdpa, or set the attention dropout to 0",
        )
    if query.device.type == "cpu" and torch.is_grad_enabled() and query.requires_grad:
        raise ModelError(
            "flex attention has no backward pass on a CPU",
            where="attention=flex",
            fix="train with attention=sdpa",
        )
    options: dict[str, Any] = {"scale": scale, "enable_gqa": query.shape[1] != key.shape[1]}
    if mask.causal:
        options["score_mod"] = _causal_score
    elif mask.dense is not None:
        options["block_mask"] = mask.flex_block_mask
    return _flex_function(query.device.type)(query, key, value, **options)


def _causal_score(
    score: torch.Tensor, b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor
) -> torch.Tensor:
    return torch.where(q >= k, score, float("-inf"))


@cache
def _flex_function(device_type: str) -> Callable[..., torch.Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    if device_type != "cpu":
        return torch.compile(flex_attention, dynamic=True)

    def reference(*args: Any, **options: Any) -> torch.Tensor:
        with warnings.catch_warnings():  # it warns that it is not compiled, which is meant here
            warnings.simplefilter("ignore", UserWarning)
            return flex_attention(*args, **options)

    return reference


def repeat_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Give each query head its key or value head. x (Tensor): [b, kv_heads, k, head_dim]"""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


BACKENDS: dict[str, Backend] = {"sdpa": sdpa, "eager": eager, "flex": flex, "flash": flash}


def available_backends() -> tuple[str, ...]:
    """The backends that this torch has."""
    has_flex = importlib.util.find_spec("torch.nn.attention.flex_attention") is not None
    has_flash = torch.backends.cuda.is_flash_attention_available() or not torch.cuda.is_available()
    missing = {name for name, ok in (("flex", has_flex), ("flash", has_flash)) if not ok}
    return tuple(name for name in BACKENDS if name not in missing)


def get_backend(name: str) -> Backend:
    """The backend of a name.

    Raises:
        ModelError: no backend has this name, or this torch lacks it.
    """
    if name not in BACKENDS:
        raise ModelError(
            f"unknown attention backend {name!r}",
            fix=hint(name, BACKENDS),
        )
    if name not in available_backends():
        raise ModelError(
            f"this build of torch {torch.__version__} has no {name} attention",
            fix=f"use one of: {', '.join(available_backends())}",
        )
    return BACKENDS[name]
