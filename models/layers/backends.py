"""Attention backends: one function each, chosen by name.

Every function takes query and key [b, heads, q, head_dim], [b, kv_heads, k, head_dim] and value
[b, kv_heads, k, value_dim], with heads a multiple of kv_heads, and returns [b, heads, q,
value_dim].
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from tfcli.models import processor
from tfcli.models.errors import ModelError, hint
from tfcli.models.layers import tiles
from tfcli.models.layers.masks import AttentionMask

_FEW_QUERIES = 4
"""As many as this: decoding, with a draft at most."""


@dataclass(frozen=True)
class Scores:
    """What becomes of the product of queries and keys.

    Args:
        scale: factor on the products.
        dropout: on the attention weights.
        softcap: scores become softcap * tanh(score / softcap) (Gemma 2).
        sinks (Tensor): [heads], a score that every query has for no key: it takes a share of the
            softmax and gives nothing (gpt-oss).
    """

    scale: float
    dropout: float = 0.0
    softcap: float | None = None
    sinks: torch.Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether a fused kernel can compute them."""
        return self.softcap is None and self.sinks is None


Backend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, AttentionMask, Scores], torch.Tensor]


def attention_weights(
    query: torch.Tensor, key: torch.Tensor, mask: AttentionMask, scores: Scores
) -> torch.Tensor:
    """Softmax of the scores, computed in float32. Returns [b, heads, q, k] in query's dtype."""
    key = repeat_heads(key, query.shape[1])
    logits = (query @ key.transpose(-1, -2)).float()
    # In place where autograd keeps nothing of it: these are the largest tensors of the layer.
    if scores.softcap is None:
        logits = logits.mul_(scores.scale)
    else:
        logits = scores.softcap * torch.tanh(logits.mul_(scores.scale / scores.softcap))
    if mask.bias is not None:
        logits = logits + mask.bias
    visible = mask.visible(query.shape[2], key.shape[2], query.device)
    if visible is not None:
        logits = logits.masked_fill_(~visible, float("-inf"))
    if scores.sinks is None:
        return logits.softmax(-1).to(query.dtype)
    sinks = scores.sinks.float()[None, :, None, None].expand(*logits.shape[:-1], 1)
    return torch.cat((logits, sinks), -1).softmax(-1)[..., :-1].to(query.dtype)


def eager(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scores: Scores,
) -> torch.Tensor:
    """The formula, step by step: the reference that the others are tested against."""
    weights = attention_weights(query, key, mask, scores)
    weights = F.dropout(weights, scores.dropout, scores.dropout > 0)
    return weights @ repeat_heads(value, query.shape[1])


def sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scores: Scores,
) -> torch.Tensor:
    """torch's scaled_dot_product_attention, which picks the best kernel it has, or tiles.

    It has none for capped scores and for sinks: those are computed step by step.
    """
    if not scores.plain:
        return eager(query, key, value, mask, scores)
    if _is_faster_in_tiles(query, key, value, mask, scores):
        return tiles.attend(query, key, value, scores.scale, mask.causal)
    return _fused(query, key, value, mask, scores)


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scores: Scores,
) -> torch.Tensor:
    """A kernel of torch's, in the type that this processor computes it fastest in."""
    if _is_faster_in_float32(query):
        wide = _fused(query.float(), key.float(), value.float(), mask, scores)
        return wide.to(query.dtype)
    bias = mask.additive()
    width, narrower = value.shape[-1], query.shape[-1] - value.shape[-1]
    # Fused kernels want values as wide as keys. On a CPU the other kernel takes twice the time
    # (1024 positions, widths 192 and 128), and the memory of all scores.
    out = F.scaled_dot_product_attention(
        query,
        key,
        F.pad(value, (0, narrower)) if narrower > 0 else value,
        attn_mask=mask.dense if bias is None else bias.to(query.dtype),
        dropout_p=scores.dropout,
        is_causal=mask.causal and bias is None,
        scale=scores.scale,
        # Without it, keys would be repeated: at 4096 positions that copy costs a decoding step
        # thirty times the attention itself.
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out[..., :width]


def _is_faster_in_tiles(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scores: Scores,
) -> bool:
    """Whether many queries see all keys, or all up to their own, and nothing is to be trained."""
    return (
        mask.dense is None
        and mask.bias is None
        and not scores.dropout
        and not torch.is_grad_enabled()
        and processor.may_choose(query, key, value)
        and tiles.are_fast()
        and query.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and tiles.fits_tiles(query, key)
    )


def _is_faster_in_float32(query: torch.Tensor) -> bool:
    """Whether 16-bit attention on this processor takes longer than casting and float32.

    Milliseconds on one core of an AMD EPYC (Zen 4), 9 heads of 64, 512 keys; the same within 10%
    with the libraries held to AVX2. One query: fp32 0.07, bf16 0.52, fp16 0.85, cast 0.13.
    512 queries: fp32 8.1, bf16 8.7, fp16 16.9, cast 8.8 to 13.
    """
    if not processor.may_choose(query) or torch.is_grad_enabled():
        return False
    if query.dtype == torch.float16 and not processor.has_products(torch.float16):
        return True
    few = query.shape[2] <= _FEW_QUERIES
    return few and query.dtype in (torch.bfloat16, torch.float16)


def flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scores: Scores,
) -> torch.Tensor:
    """torch's flash kernel and no other."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if not scores.plain:
        raise _refused("flash", "neither capped scores nor sinks", "use attention=sdpa")
    if query.device.type != "cpu" and (mask.dense is not None or mask.bias is not None):
        raise _refused(
            "flash",
            "no padding, no window, no bias and no cached prefix",
            "use attention=sdpa or attention=flex",
        )
    if query.device.type == "cpu" and scores.dropout > 0:
        raise _refused(
            "flash",
            "no dropout on a CPU",
            "use attention=sdpa, or set the attention dropout to 0",
        )
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return _fused(query, key, value, mask, scores)


def flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scores: Scores,
) -> torch.Tensor:
    """torch's flex_attention: compiled on an accelerator, its reference on a CPU."""
    if scores.dropout > 0:
        raise _refused(
            "flex", "no dropout", "use attention=sdpa, or set the attention dropout to 0"
        )
    if scores.sinks is not None:
        raise _refused("flex", "no sinks", "use attention=sdpa")
    if query.device.type == "cpu" and torch.is_grad_enabled() and query.requires_grad:
        raise _refused("flex", "no backward pass on a CPU", "train with attention=sdpa")
    options: dict[str, Any] = {
        "scale": scores.scale,
        "enable_gqa": query.shape[1] != key.shape[1],
        "score_mod": _score_function(mask, scores.softcap),
    }
    if not mask.causal and mask.dense is not None:
        options["block_mask"] = mask.flex_block_mask
    return _flex_function(query.device.type)(query, key, value, **options)


def _refused(backend: str, lacks: str, fix: str) -> ModelError:
    return ModelError(f"{backend} attention has {lacks}", where=f"attention={backend}", fix=fix)


def _score_function(mask: AttentionMask, softcap: float | None) -> Callable[..., Any] | None:
    """flex_attention's hook on one score, or None where scores stay as they are."""
    bias, causal = mask.bias, mask.causal
    if bias is None and softcap is None and not causal:
        return None

    def change(
        score: torch.Tensor, b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor
    ) -> torch.Tensor:
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        if bias is not None:
            score = score + bias[b if bias.shape[0] > 1 else 0, h, q, k]
        return torch.where(q >= k, score, float("-inf")) if causal else score

    return change


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
