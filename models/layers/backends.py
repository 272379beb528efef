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

_WIDEST_FLASH = 256
"""Numbers of a head that CUDA's flash kernel takes."""


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

    It has none for capped scores and for sinks: those are computed step by step, with all scores
    in memory. On an accelerator that is said once, because flex has a kernel there.
    """
    if not scores.plain:
        if query.device.type != "cpu" and not torch.compiler.is_compiling():
            _say_step_by_step("capped scores" if scores.sinks is None else "attention sinks")
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
    attn_mask, is_causal = _limits(query, key, mask)
    shape, width, narrower = query.shape, value.shape[-1], query.shape[-1] - value.shape[-1]
    # Fused kernels want values as wide as keys. On a CPU the other kernel takes twice the time
    # (1024 positions, widths 192 and 128), and the memory of all scores.
    value = F.pad(value, (0, narrower)) if narrower > 0 else value
    form = grouping(query, key, masked=type(attn_mask) is torch.Tensor)
    if form == "folded":
        query = query.reshape(shape[0], key.shape[1], -1, shape[3])
        if attn_mask is not None and attn_mask.shape[1] > 1:
            attn_mask = attn_mask.reshape(attn_mask.shape[0], key.shape[1], -1, key.shape[2])
    elif form == "repeated":
        key, value = repeat_heads(key, shape[1]), repeat_heads(value, shape[1])
    out = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attn_mask,
        dropout_p=scores.dropout,
        is_causal=is_causal,
        scale=scores.scale,
        enable_gqa=form == "shared",
    )[..., :width]
    return out.reshape(*shape[:3], width) if form == "folded" else out


def _limits(
    query: torch.Tensor, key: torch.Tensor, mask: AttentionMask
) -> tuple[torch.Tensor | None, bool]:
    """A mask as torch's function takes it: `attn_mask` and `is_causal`."""
    if mask.bias is not None:
        return mask.additive(query.dtype), False
    queries, keys = query.shape[2], key.shape[2]
    if mask.causal and queries == keys:
        return None, True
    # torch's flag means the first keys; where the queries are the last, this says so. Without a
    # kernel torch would write it out in each layer, and compiled code takes no tensor subclass.
    if mask.causal and query.device.type == "cuda" and not torch.compiler.is_compiling():
        # Not at the top of the file: it imports torch's compiler, which takes a second.
        from torch.nn.attention.bias import causal_lower_right

        return causal_lower_right(queries, keys), False
    return mask.visible(queries, keys, query.device), False


def grouping(query: torch.Tensor, key: torch.Tensor, masked: bool) -> str:
    """How query heads that share a key head are given to torch's function.

    Args:
        query (Tensor): [b, heads, q, head_dim]
        key (Tensor): [b, kv_heads, k, head_dim]
        masked: whether a mask or bias [.., q, k] goes with them.

    Returns:
        "single": each has its own. "shared": the kernel finds the key head of each query head. Of
        CUDA's kernels only flash does, which takes no mask, no float32 and no wide heads; with any
        of these torch would take the formula, and hold all scores in float32. "folded": a single
        query's heads are given as the queries of their key head, which copies nothing.
        "repeated": keys and values are copied for each query head.
    """
    if query.shape[1] == key.shape[1]:
        return "single"
    # On a CPU: at 4096 positions the copy costs a decoding step thirty times the attention itself.
    if query.device.type == "cpu":
        return "shared"
    half = query.dtype in (torch.bfloat16, torch.float16)
    if half and not masked and query.shape[-1] <= _WIDEST_FLASH:
        return "shared"
    return "folded" if query.shape[2] == 1 else "repeated"


def _is_faster_in_tiles(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: AttentionMask,
    scores: Scores,
) -> bool:
    """Whether many queries see all keys, or all up to their own, and nothing is to be trained."""
    return (
        not mask.limited
        and not (mask.causal and query.shape[2] != key.shape[2])
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
    if query.device.type != "cpu" and (mask.limited or mask.bias is not None):
        raise _refused(
            "flash",
            "no padding, no window, no groups and no bias",
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
    if query.device.type == "cpu" and torch.is_grad_enabled() and query.requires_grad:
        raise _refused("flex", "no backward pass on a CPU", "train with attention=sdpa")
    options: dict[str, Any] = {
        "scale": scores.scale,
        "enable_gqa": query.shape[1] != key.shape[1],
        "score_mod": _score_function(mask.bias, scores.softcap),
        "block_mask": mask.block_mask(query.shape[2], key.shape[2], query.device),
    }
    attend = _flex_function(query.device.type)
    if scores.sinks is None:
        return attend(query, key, value, **options)
    from torch.nn.attention.flex_attention import AuxRequest

    out, more = attend(query, key, value, **options, return_aux=AuxRequest(lse=True))
    # What a sink takes is taken off: the keys' share is exp(lse) of exp(lse) + exp(sink).
    share = torch.sigmoid(more.lse - scores.sinks.float()[:, None])
    return (out * share[..., None]).to(query.dtype)


@cache
def _say_step_by_step(what: str) -> None:
    warnings.warn(
        f"sdpa attention has no kernel for {what}: they are computed step by step, with all scores "
        "in memory. attention=flex has one on an accelerator.",
        stacklevel=2,
    )


def _refused(backend: str, lacks: str, fix: str) -> ModelError:
    return ModelError(f"{backend} attention has {lacks}", where=f"attention={backend}", fix=fix)


def _score_function(
    bias: torch.Tensor | None, softcap: float | None
) -> Callable[..., torch.Tensor] | None:
    """flex_attention's hook on one score, or None where scores stay as they are."""
    if bias is None and softcap is None:
        return None

    def change(
        score: torch.Tensor, b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor
    ) -> torch.Tensor:
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        return score if bias is None else score + bias[b if bias.shape[0] > 1 else 0, h, q, k]

    return change


def _flex_function(device_type: str) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    if torch.compiler.is_compiling():
        return flex_attention
    return _compiled_flex() if device_type != "cpu" else _reference_flex


@cache
def _compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def _reference_flex(*args: Any, **options: Any) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    with warnings.catch_warnings():  # it warns that it is not compiled, which is meant here
        warnings.simplefilter("ignore", UserWarning)
        return flex_attention(*args, **options)


def repeat_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Give each query head its key or value head. x (Tensor): [b, kv_heads, k, head_dim]"""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


BACKENDS: dict[str, Backend] = {"sdpa": sdpa, "eager": eager, "flex": flex, "flash": flash}


@cache
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
