"""OLMoE (Muennighoff et al. 2024): experts in every layer, norms over all queries and keys.

Reference: transformers `modeling_olmoe.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from typing import Any

import torch

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.olmoe import OlmoeConfig
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.text.sparse import ATTENTION, EXPERTS, BalancedModel


class ClippedAttention(RotaryAttention):
    """Attention whose queries, keys and values are clipped.

    Args:
        sizes: see `RotaryAttention`.
        clip: the largest absolute value, or None.
        options: see `RotaryAttention`.
    """

    def __init__(self, *sizes: int, clip: float | None, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.clip = clip

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `RotaryAttention.heads`."""
        query, key, value = super().heads(x)
        if self.clip is None:
            return query, key, value
        low, high = -self.clip, self.clip
        return query.clamp(low, high), key.clamp(low, high), value.clamp(low, high)


class OlmoeModel(BalancedModel):
    """Llama's body with OLMoE's attention, and mixtures in every layer."""

    config: OlmoeConfig
    attention_class = ClippedAttention

    walk = CalibrationWalk(blocks="layers", groups=(*ATTENTION, *EXPERTS))

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        options = super().attention_options(layer)
        return {**options, **self.whole_norms(), "clip": self.config.clip_qkv}
