"""Rotary positions (Su et al. 2021) and the ways in use of stretching them to longer inputs.

Frequencies and attention factors are those of transformers 5 (`modeling_rope_utils.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

Rotation = tuple[torch.Tensor, torch.Tensor]


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn each pair (x[i], x[i + width/2]) by the angle of its position.

    Args:
        x (Tensor): [b, heads, s, head_dim]
        cos (Tensor): [b or 1, 1, s, width]; dimensions of x from `width` on stay as they are.
        sin (Tensor): [b or 1, 1, s, width]; the first half is negated, which saves negating
            half of x.

    Returns:
        [b, heads, s, head_dim]
    """
    width = cos.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
    half = width // 2
    swapped = torch.cat((turned[..., half:], turned[..., :half]), dim=-1)
    turned = turned * cos + swapped * sin
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


def rotate_neighbours(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn each pair (x[2i], x[2i + 1]). Arguments as in `rotate`, laid out in that order."""
    width = cos.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
    swapped = torch.stack((turned[..., 1::2], turned[..., 0::2]), dim=-1).flatten(-2)
    turned = turned * cos + swapped * sin
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


class Rotary:
    """Cosines and sines for positions, and how they turn queries and keys.

    Frequencies are made from the config on first use on a device, in float32. It is no module: a
    buffer would have to be filled after a meta-device build, and `model.to(bfloat16)` would round
    it.

    Args:
        rope: normalised `rope_parameters` (configs/rope.py). Its `partial_rotary_factor` is the
            fraction of a head that is turned.
        head_dim: width of a head.
        max_position_embeddings: the config's, which `dynamic` and `longrope` compare with.
        neighbours: pairs are (2i, 2i + 1), as in GPT-J and Cohere, not (i, i + width/2).
    """

    def __init__(
        self,
        rope: dict[str, Any],
        head_dim: int,
        max_position_embeddings: int,
        *,
        neighbours: bool = False,
    ) -> None:
        self.rope = rope
        self.width = int(head_dim * rope.get("partial_rotary_factor", 1.0))
        self.max_position_embeddings = max_position_embeddings
        self.neighbours = neighbours
        self.attention_factor = attention_factor(rope, max_position_embeddings)
        self._cached: dict[tuple[torch.device, bool], torch.Tensor] = {}

    @classmethod
    def by_kind(
        cls, ropes: Mapping[str, dict[str, Any]], head_dim: int, max_position_embeddings: int
    ) -> dict[str, Rotary]:
        """One for each type of layer, where they have settings of their own."""
        return {kind: cls(rope, head_dim, max_position_embeddings) for kind, rope in ropes.items()}

    def __call__(self, position_ids: torch.Tensor, dtype: torch.dtype) -> Rotation:
        """The pair that `turn` takes.

        Args:
            position_ids (Tensor): [b or 1, s], integers from 0.
            dtype: of the queries and keys to rotate.

        Returns:
            cos, sin, each [b or 1, 1, s, width]
        """
        angles = position_ids[:, None, :, None].float() * self.frequencies(position_ids)
        cos = angles.cos() * self.attention_factor
        sin = angles.sin() * self.attention_factor
        if self.neighbours:
            cos = cos.repeat_interleave(2, -1)
            sin = torch.stack((-sin, sin), -1).flatten(-2)
            return cos.to(dtype), sin.to(dtype)
        return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)

    def turn(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """x (Tensor): [b, heads, s, head_dim], queries or keys -> the same, rotated"""
        return (rotate_neighbours if self.neighbours else rotate)(x, *rotation)

    def frequencies(self, position_ids: torch.Tensor) -> torch.Tensor:
        """[width / 2], in radians a position.

        `dynamic` and `longrope` depend on the longest position of this very call, as in
        transformers on a fresh model. Keys that were cached before the limit was crossed keep
        the rotation they got.
        """
        rope, length = self.rope, None
        if rope["rope_type"] in ("dynamic", "longrope") and torch.compiler.is_exporting():
            return self._in_graph(position_ids)
        if rope["rope_type"] == "dynamic":
            longest = int(position_ids.max()) + 1
            if longest > self.max_position_embeddings:
                return self._compute(longest, position_ids.device)
        elif rope["rope_type"] == "longrope":
            longest = int(position_ids.max()) + 1
            if longest > rope["original_max_position_embeddings"]:
                length = longest
        key = (position_ids.device, length is not None)
        if key not in self._cached:
            self._cached[key] = self._compute(length, position_ids.device)
        return self._cached[key]

    def _in_graph(self, position_ids: torch.Tensor) -> torch.Tensor:
        """The same for an exported graph, which cannot branch on the longest position."""
        longest, device = position_ids.max() + 1, position_ids.device
        if self.rope["rope_type"] == "dynamic":
            return self._compute(longest.clamp(min=self.max_position_embeddings).double(), device)
        limit = self.rope["original_max_position_embeddings"]
        return torch.where(
            longest > limit, self._compute(limit + 1, device), self._compute(None, device)
        )

    def _compute(self, length: int | torch.Tensor | None, device: torch.device) -> torch.Tensor:
        return inverse_frequencies(self.rope, self.width, self.max_position_embeddings, length).to(
            device
        )


def inverse_frequencies(
    rope: dict[str, Any],
    head_dim: int,
    max_position_embeddings: int,
    length: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Radians a position for each pair of dimensions.

    Args:
        rope: normalised `rope_parameters`.
        head_dim: width of a head.
        max_position_embeddings: the config's.
        length: positions in use, for `dynamic` and `longrope`; a tensor [] is at least
            max_position_embeddings.

    Returns:
        float32 [head_dim / 2]
    """
    rope_type, base = rope["rope_type"], rope["rope_theta"]
    if rope_type == "dynamic":
        # NTK-aware scaling: stretch the base as the input outgrows the trained length.
        if not isinstance(length, torch.Tensor):
            length = max(length or 0, max_position_embeddings)
        ratio = length / max_position_embeddings
        grown = rope["factor"] * ratio - (rope["factor"] - 1)
        base = base * grown ** (head_dim / (head_dim - 2))
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
    plain = 1.0 / (base**exponents)
    if rope_type == "linear":
        return plain / rope["factor"]
    if rope_type == "yarn":
        return _yarn(rope, head_dim, plain, _factor(rope, max_position_embeddings))
    if rope_type == "longrope":
        which = "short_factor" if length is None else "long_factor"
        return 1.0 / (
            torch.tensor(rope[which], dtype=torch.float32, device="cpu") * base**exponents
        )
    if rope_type == "llama3":
        return _llama3(rope, plain)
    return plain


def attention_factor(rope: dict[str, Any], max_position_embeddings: int) -> float:
    """What cosines and sines are multiplied by (YaRN's and LongRoPE's temperature)."""
    if rope["rope_type"] not in ("yarn", "longrope"):
        return 1.0
    if "attention_factor" in rope:
        return float(rope["attention_factor"])
    factor = _factor(rope, max_position_embeddings)
    if factor <= 1:
        return 1.0
    if rope["rope_type"] == "longrope":
        trained = rope["original_max_position_embeddings"]
        return math.sqrt(1 + math.log(factor) / math.log(trained))
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        over, under = rope["mscale"], rope["mscale_all_dim"]
        return (0.1 * over * math.log(factor) + 1) / (0.1 * under * math.log(factor) + 1)
    return 0.1 * math.log(factor) + 1


def _factor(rope: dict[str, Any], max_position_embeddings: int) -> float:
    trained = rope["original_max_position_embeddings"]
    return float(rope.get("factor", max_position_embeddings / trained))


def _yarn(rope: dict[str, Any], dim: int, plain: torch.Tensor, factor: float) -> torch.Tensor:
    """YaRN (Peng et al. 2023): slow dimensions are interpolated, fast ones kept."""
    trained, base = rope["original_max_position_embeddings"], rope["rope_theta"]

    def dimension_of(rotations: float) -> float:
        """The dimension that turns so many times over the trained length."""
        return dim * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low = dimension_of(rope.get("beta_fast", 32))
    high = dimension_of(rope.get("beta_slow", 1))
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001  # keeps the ramp below from dividing by zero
    steps = torch.arange(dim // 2, dtype=torch.float32, device="cpu")
    interpolated = ((steps - low) / (high - low)).clamp(0, 1)
    return plain / factor * interpolated + plain * (1 - interpolated)


def _llama3(rope: dict[str, Any], plain: torch.Tensor) -> torch.Tensor:
    """Llama 3.1: long wavelengths are divided by the factor, with a smooth passage."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    trained, factor = rope["original_max_position_embeddings"], rope["factor"]
    wavelengths = 2 * math.pi / plain
    scaled = torch.where(wavelengths > trained / low, plain / factor, plain)
    if high == low:  # no passage (Llama 4 Scout)
        return scaled
    smooth = (trained / wavelengths - low) / (high - low)
    between = (1 - smooth) * scaled / factor + smooth * scaled
    medium = (wavelengths >= trained / high) & (wavelengths <= trained / low)
    return torch.where(medium, between, scaled)
