"""PaliGemma (Beyer et al. 2024; Steiner et al. 2024): SigLIP's states and a prompt see each other.

Positions here begin at 0 and in the reference at 1, which rotary positions do not tell apart.
Reference: transformers `modeling_paligemma.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.configs.paligemma import PaliGemmaConfig
from tfcli.models.context import Context
from tfcli.models.layers.linear import linear
from tfcli.models.multimodal.composite import LLAVA_NAMES, VisionLanguage


class PaliGemmaProjector(nn.Module):
    """One linear."""

    def __init__(self, config: PaliGemmaConfig) -> None:
        super().__init__()
        self.linear = linear(config.vision_config.width, config.projection_dim, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [images, patches, width of the tower] -> [images, patches, d]"""
        return self.linear(x)


class PaliGemmaModel(VisionLanguage[PaliGemmaConfig]):
    """A tower, a linear, a language model whose prefix sees itself."""

    inputs = (*VisionLanguage.inputs, "token_type_ids")
    rules = LLAVA_NAMES

    def __init__(self, config: PaliGemmaConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.multi_modal_projector = PaliGemmaProjector(config)

    def features(self, inputs: Mapping[str, Any], medium: str) -> torch.Tensor:
        """pixel_values (Tensor) of the inputs: [images, c, h, w] -> [images, patches, d]"""
        return self.multi_modal_projector(
            self.vision_tower.encode(pixel_values=inputs["pixel_values"])
        )

    def groups_of(self, x: torch.Tensor, context: Context) -> torch.Tensor | None:
        """The prefix, where `token_type_ids` [b, s] are 0; 1 is for the answer. Without these,
        tokens see what was before them alone."""
        types = context.inputs.get("token_type_ids")
        return None if types is None else torch.where(types == 0, 0, -1)
