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
from tfcli.models.multimodal.composite import VisionLanguage
from tfcli.models.rules import OldName, Rename


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

    # Checkpoints have the names that these models had before transformers 4.52, and transformers
    # 5 still writes them.
    rules = (
        Rename(r"^lm_head\.", "language_model.lm_head."),
        Rename(r"^model\.language_model\.", "language_model.model."),
        Rename(r"^model\.(?=vision_tower\.|multi_modal_projector\.)", ""),
        OldName(r"^model\.language_model\.", "language_model.model."),
        OldName(r"^model\.(?=vision_tower\.|multi_modal_projector\.)", ""),
        OldName(r"^lm_head\.", "language_model.lm_head."),
        OldName(r"^vision_tower\.vision_model\.", "vision_tower."),
    )

    def __init__(self, config: LlavaConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.multi_modal_projector = LlavaProjector(config)

    def features(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """All images' features, one after the other: [n, d]"""
        return self.projected(inputs["pixel_values"]).flatten(0, 1)

    def projected(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """pixel_values (Tensor): [images, c, h, w] -> [images, patches, d]"""
        config = self.config
        states = self.vision_tower.states({"pixel_values": pixel_values})
        first = 1 if config.vision_feature_select_strategy == "default" else 0
        chosen = [states[layer][:, first:] for layer in config.feature_layers]
        return self.multi_modal_projector(torch.cat(chosen, dim=-1))
