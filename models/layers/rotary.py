"""Rotary positions (Su et al. 2021) and the ways in use of stretching them to longer inputs.

Frequencies and attention factors are those of transformers 5 (`modeling_rope_utils.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tfcli.models import processor
from tfcli.models.errors import ModelError

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


def rotate_interleaved(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
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
        interleaved: pairs are (2i, 2i + 1), as in GPT-J and Cohere, not (i, i + width/2).
        sections: pairs that turn by the time, the height and the width of a position that has
            three numbers (M-RoPE; Wang et al. 2024, "Qwen2-VL"), `mrope_section` in configs. They
            sum to the pairs of a head. None where a position is one number.
        sections_interleaved: the pairs of the three take turns, as in Qwen3-VL; those of height and
            width stop after their number, and time has the rest. Otherwise each has one block.

    Raises:
        ModelError: sections that do not sum to the pairs.
    """

    def __init__(
        self,
        rope: dict[str, Any],
        head_dim: int,
        max_position_embeddings: int,
        *,
        interleaved: bool = False,
        sections: Sequence[int] | None = None,
        sections_interleaved: bool = False,
    ) -> None:
        self.rope = rope
        self.width = int(head_dim * rope.get("partial_rotary_factor", 1.0))
        self.max_position_embeddings = max_position_embeddings
        self.interleaved = interleaved
        self.attention_factor = attention_factor(rope, max_position_embeddings)
        self.numbers = (
            None if sections is None else numbers_of(sections, self.width, sections_interleaved)
        )
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
            position_ids (Tensor): [b or 1, s], integers from 0; with `sections` also [b or 1, 3,
                s]: time, height and width.
            dtype: of the queries and keys to rotate.

        Returns:
            cos, sin, each [b or 1, 1, s, width]
        """
        at = position_ids[:, :, None] if position_ids.ndim == 2 else self.by_pair(position_ids)
        angles = at[:, None].float() * self.frequencies(position_ids)
        cos = angles.cos() * self.attention_factor
        sin = angles.sin() * self.attention_factor
        if self.interleaved:
            cos = cos.repeat_interleave(2, -1)
            sin = torch.stack((-sin, sin), -1).flatten(-2)
            return cos.to(dtype), sin.to(dtype)
        return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)

    def turn(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """x (Tensor): [b, heads, s, head_dim], queries or keys -> the same, rotated"""
        return (rotate_interleaved if self.interleaved else rotate)(x, *rotation)

    def by_pair(self, position_ids: torch.Tensor) -> torch.Tensor:
        """The number of a position that each pair turns by. [b or 1, 3, s] -> [b or 1, s, pairs]"""
        if self.numbers is None:
            shape = tuple(position_ids.shape)
            raise ModelError(f"position_ids has shape {shape}, expected [b, s]")
        # Taken apart: a list of indices would be copied to the device in each forward pass.
        rows = position_ids.unbind(1)
        return torch.stack([rows[number] for number in self.numbers], dim=-1)

    def frequencies(self, position_ids: torch.Tensor) -> torch.Tensor:
        """[width / 2], in radians a position.

        `dynamic` and `longrope` depend on the longest position of this very call, as in
        transformers on a fresh model. Keys that were cached before the limit was crossed keep
        the rotation they got.
        """
        rope, device = self.rope, position_ids.device
        if rope["rope_type"] not in ("dynamic", "longrope"):
            return self._kept(device, long=False)
        if not processor.can_read(position_ids):
            return self._in_graph(position_ids)
        longest = int(position_ids.max()) + 1
        if rope["rope_type"] == "longrope":
            return self._kept(device, long=longest > rope["original_max_position_embeddings"])
        if longest > self.max_position_embeddings:
            return self._compute(longest, device)
        return self._kept(device, long=False)

    def _in_graph(self, position_ids: torch.Tensor) -> torch.Tensor:
        """The same where values are not to be read: it is chosen on the device."""
        longest, device = position_ids.max() + 1, position_ids.device
        if self.rope["rope_type"] == "dynamic":
            longest = longest.clamp(min=self.max_position_embeddings)
            wide = torch.float32 if device.type == "mps" else torch.float64
            return self._compute(longest.to(wide), device)
        is_long = longest > self.rope["original_max_position_embeddings"]
        return torch.where(is_long, self._kept(device, long=True), self._kept(device, long=False))

    def _kept(self, device: torch.device, long: bool) -> torch.Tensor:
        """Frequencies that follow from the config alone; LongRoPE has others for long inputs."""
        found = self._cached.get((device, long))
        if found is None:
            limit = self.rope.get("original_max_position_embeddings", 0)
            found = self._compute(limit + 1 if long else None, device)
            # In a graph it would be no tensor of ours, and one more entry another graph.
            if not torch.compiler.is_compiling():
                self._cached[device, long] = found
                if self.rope["rope_type"] == "longrope":
                    self._kept(device, long=not long)
        return found

    def _compute(self, length: int | torch.Tensor | None, device: torch.device) -> torch.Tensor:
        return inverse_frequencies(self.rope, self.width, self.max_position_embeddings, length).to(
            device
        )


class AxialRotary(Rotary):
    """Turns by the row and the column of a patch: a half of the pairs each, of equal frequencies.

    Args:
        theta: base of the frequencies.
        head_dim: width of a head, a multiple of 4.
    """

    def __init__(self, theta: float, head_dim: int) -> None:
        rope = {"rope_type": "default", "rope_theta": theta}
        super().__init__(rope, head_dim // 2, max_position_embeddings=1)

    def __call__(self, position_ids: torch.Tensor, dtype: torch.dtype) -> Rotation:
        """position_ids (Tensor): [b or 1, 2, s], rows and columns; see `Rotary.__call__`."""
        at = position_ids.transpose(1, 2)[:, None, ..., None].float()
        angles = (at * self.frequencies(position_ids)).flatten(-2)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


def numbers_of(sections: Sequence[int], width: int, interleaved: bool) -> tuple[int, ...]:
    """Which number of a position each pair of a head turns by: 0 time, 1 height, 2 width.

    Args:
        sections: pairs of each.
        width: of a head's part that is turned.
        interleaved: see `Rotary`.

    Raises:
        ModelError: there are not three sections, or they do not sum to the pairs.
    """
    if len(sections) != 3 or sum(sections) != width // 2:
        raise ModelError(
            f"mrope_section is {list(sections)}: three numbers that sum to {width // 2} are needed"
        )
    if not interleaved:
        return tuple(n for n, count in enumerate(sections) for _ in range(count))
    turns = ((pair // 3, pair % 3) for pair in range(width // 2))
    return tuple(number if turn < sections[number] else 0 for turn, number in turns)


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
    device = length.device if isinstance(length, torch.Tensor) else "cpu"
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
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
