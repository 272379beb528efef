"""LLaVA (Liu et al. 2023): states of a vision tower, through two linears, among the tokens.

Reference: transformers `modeling_llava.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.configs.llava import LlavaConfig
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.multimodal.composite import LLAVA_NAMES, VisionLanguage


class LlavaProjector(nn.Module):
    """Two linears with an activation between, from the tower's width to the language model's."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__()
        size, bias = config.text_config.hidden_size, config.multimodal_projector_bias
        wide = config.vision_config.width * len(config.feature_layers)
        self.linear_1 = linear(wide, size, bias)
        self.act = activation(config.projector_hidden_act)
        self.linear_2 = linear(size, size, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, width of the tower] -> [b, s, d]"""
        return self.linear_2(self.act(self.linear_1(x)))


class LlavaModel(VisionLanguage[LlavaConfig]):
    """A vision tower, a projector, a language model."""

    rules = LLAVA_NAMES

    def __init__(self, config: LlavaConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.multi_modal_projector = LlavaProjector(config)

    def features(self, inputs: Mapping[str, Any], medium: str) -> torch.Tensor:
        """All images' features, one after the other: [n, d]"""
        return self.projected(inputs["pixel_values"]).flatten(0, 1)

    def projected(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """pixel_values (Tensor): [images, c, h, w] -> [images, patches, d]"""
        states = self.vision_tower.states({"pixel_values": pixel_values})
        chosen = [states[layer][:, self.first :] for layer in self.config.feature_layers]
        return self.multi_modal_projector(torch.cat(chosen, dim=-1))

    @property
    def first(self) -> int:
        """How many of a tower's states are taken away: one that stands for the whole image."""
        return 1 if self.config.vision_feature_select_strategy == "default" else 0
