"""Gemma 3 with its tower (Gemma team 2025): pooled states, which see each other among the tokens.

Reference: transformers `modeling_gemma3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.configs.gemma3 import Gemma3Config
from tfcli.models.context import Context
from tfcli.models.layers.norms import OffsetRMSNorm
from tfcli.models.multimodal.composite import LLAVA_NAMES, VisionLanguage, runs_of


class Gemma3Projector(nn.Module):
    """Squares of patches averaged, a norm, a matrix."""

    def __init__(self, config: Gemma3Config) -> None:
        super().__init__()
        vision, text = config.vision_config.hidden_size, config.text_config.hidden_size
        self.mm_input_projection_weight = nn.Parameter(torch.empty(vision, text))
        self.mm_soft_emb_norm = OffsetRMSNorm(vision, config.vision_config.layer_norm_eps)
        self.patches = config.patches_per_side
        self.square = config.patches_per_side // config.tokens_per_side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [images, patches, width of the tower] -> [images, mm_tokens_per_image, d]"""
        grid = x.unflatten(1, (self.patches, self.patches)).permute(0, 3, 1, 2)
        pooled = F.avg_pool2d(grid, self.square).flatten(2).transpose(1, 2)
        return self.mm_soft_emb_norm(pooled) @ self.mm_input_projection_weight


class Gemma3Model(VisionLanguage[Gemma3Config]):
    """A tower, a projector, a language model. Features of one image see each other."""

    inputs = (*VisionLanguage.inputs, "token_type_ids")
    rules = LLAVA_NAMES
    groups_in_window = True

    def __init__(self, config: Gemma3Config, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.multi_modal_projector = Gemma3Projector(config)

    def features(self, inputs: Mapping[str, Any], medium: str) -> torch.Tensor:
        """pixel_values (Tensor) of the inputs: [images, c, h, w] -> [images, tokens, d]"""
        return self.multi_modal_projector(
            self.vision_tower.encode(pixel_values=inputs["pixel_values"])
        )

    def groups_of(self, x: torch.Tensor, context: Context) -> torch.Tensor | None:
        """Runs of tokens whose `token_type_ids` [b, s] are 1. Without these, tokens see what was
        before them alone, as in transformers."""
        types = context.inputs.get("token_type_ids")
        return None if types is None else runs_of(types == 1)

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """The projector begins at 0: a new one says nothing of images."""
        return torch.zeros(shape) if name.startswith("multi_modal_projector.") else None
