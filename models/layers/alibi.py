"""ALiBi (Press et al. 2021): scores fall off with distance, by a slope of its own for each head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from tfcli.models.layers.masks import AttentionMask, position_ids_of

if TYPE_CHECKING:
    from tfcli.models.context import Context


def slopes(heads: int, largest: int = 8) -> torch.Tensor:
    """How fast each head's scores fall, float32 [heads].

    For a power of two, the geometric series from 2^(-largest/heads) to 2^-largest. Otherwise that
    of the power below, and every second one of the power above.
    """
    below = 2 ** math.floor(math.log2(heads))
    found = [2.0 ** (-largest * i / below) for i in range(1, below + 1)]
    found += [2.0 ** (-largest * i / (2 * below)) for i in range(1, 2 * (heads - below), 2)]
    return torch.tensor(found, dtype=torch.float32, device="cpu")


class Alibi:
    """The bias that takes the place of position embeddings.

    It is no module, like `Rotary`, and for the same reasons.

    Args:
        heads: query heads.
        scale: factor on the bias.
        largest: see `slopes`.
        rounded: slope times position is rounded to bfloat16, as the models were trained (Falcon).
    """

    def __init__(
        self, heads: int, *, scale: float = 1.0, largest: int = 8, rounded: bool = False
    ) -> None:
        self.heads = heads
        self.scale = scale
        self.largest = largest
        self.rounded = rounded
        self._slopes: dict[torch.device, torch.Tensor] = {}

    def mask(self, context: Context, layer: int) -> AttentionMask:
        """The mask of a decoder layer with the bias; layers whose caches hold as much share it."""
        plain = context.causal(layer)
        return context.once((self, plain), lambda: plain.with_bias(self.bias(context, layer)))

    def bias(self, context: Context, layer: int) -> torch.Tensor:
        """What is added to the scores of the new positions, float32 [b or 1, heads, q, k].

        Positions are counted from each row's or text's first token. Softmax is blind to what all
        keys of a query share, so that every query may count from its own position: rounded to a
        narrow dtype, the bias is then most exact where it matters, nearby.
        """
        sight, keys_at = context.sight, context.key_places(layer)
        whole = sight.segments if sight.padding is None else sight.padding
        if whole is None:
            keys, queries = self.heights(keys_at[None]), self.heights(context.places[None])
        else:
            at = position_ids_of(whole.shape[1], 0, sight.device, sight.padding, sight.segments)
            heights = self.heights(at)
            keys = heights.index_select(-1, keys_at.clamp(min=0))
            queries = heights.index_select(-1, context.places)
        return (keys[:, :, None, :] - queries[:, :, :, None]) * self.scale

    def heights(self, positions: torch.Tensor) -> torch.Tensor:
        """Slope times position. positions (Tensor): [b or 1, s] -> float32 [b or 1, heads, s]"""
        steep = self._slopes.get(positions.device)
        if steep is None:
            steep = slopes(self.heads, self.largest).to(positions.device)[:, None]
            if not torch.compiler.is_exporting():  # there it would be no tensor of ours
                self._slopes[positions.device] = steep
        if not self.rounded:
            return steep * positions[:, None]
        return (steep.bfloat16() * positions[:, None]).float()
