"""CLIP's tower for images (Radford et al. 2021): a pre-norm transformer over patches.

Reference: transformers `modeling_clip.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.blocks.clip import CLIP_WALK, CLIPEncoder
from tfcli.models.configs.clip import CLIPVisionConfig
from tfcli.models.context import Context
from tfcli.models.heads.tower import Projection
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.patches import (
    PatchEmbedding,
    image_or_embeds,
    image_positions,
    require_size,
)
from tfcli.models.rules import OldName
from tfcli.models.vision.tower import VisionBackbone


class CLIPVisionEmbeddings(nn.Module):
    """Patches after a vector that stands for the whole image, and positions."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.class_embedding = nn.Parameter(torch.empty(size))
        self.patch_embedding = PatchEmbedding(
            config.num_channels, size, config.patch_size, bias=False
        )
        self.position_embedding = Embedding(config.num_patches + 1, size)
        self.image_size = config.image_size

    def forward(self, pixel_values: torch.Tensor, *, interpolate: bool) -> torch.Tensor:
        """Embed images.

        Args:
            pixel_values (Tensor): [b, c, h, w]
            interpolate: images may have another size than the table of positions is for.

        Returns:
            [b, 1 + patches, d]
        """
        patches = self.patch_embedding(pixel_values)
        if not interpolate:
            require_size(pixel_values, self.image_size, self.patch_embedding.patch)
        x = torch.cat((self.class_embedding.expand(len(patches), 1, -1), patches), dim=1)
        grid = self.patch_embedding.grid(pixel_values)
        return x + image_positions(self.position_embedding.weight, grid, leading=1)


class CLIPVisionModel(VisionBackbone[CLIPVisionConfig]):
    """Patches, a norm, blocks. The image as a whole is the first state, after a norm."""

    prefix = "vision_model"
    rules = (OldName(r"^(vision_model\.)vision_model\.", r"\1"),)
    ignorable: ClassVar[dict[str, str]] = {r"embeddings\.position_ids$": "counted, not stored"}
    walk = CLIP_WALK

    def __init__(self, config: CLIPVisionConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.embeddings = CLIPVisionEmbeddings(config)
        self.pre_layrnorm = layer_norm(config.hidden_size, config.layer_norm_eps)  # sic
        self.encoder = CLIPEncoder(config, attention)
        self.post_layernorm = layer_norm(config.hidden_size, config.layer_norm_eps)

    def embed(
        self,
        *,
        pixel_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **inputs: Any,
    ) -> torch.Tensor:
        """pixel_values (Tensor): [b, c, h, w] -> [b, 1 + patches, d]"""
        x = image_or_embeds(pixel_values, inputs_embeds)
        if x is inputs_embeds:
            return x
        return self.embeddings(x, interpolate=interpolate_pos_encoding)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return self.encoder(self.pre_layrnorm(x), context)

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return self.post_layernorm(x[:, 0])

    def summary(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The mean of the patches' states, without a norm: [b, d]"""
        return x[:, self.leading :].mean(1)

    def init_std(self, name: str) -> float:
        config = self.config
        if name.endswith(("patch_embedding.weight", "position_embedding.weight")):
            return config.initializer_range * config.initializer_factor
        return clip_std(name, config)

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        if name != "embeddings.class_embedding":
            return None
        std = self.config.hidden_size**-0.5 * self.config.initializer_factor
        return torch.empty(shape).normal_(0.0, std, generator=random)


class CLIPVisionProjection(Projection):
    """A tower for images and a linear into the space that images and texts share."""

    linear_name = "visual_projection"
    output_name = "image_embeds"


def clip_std(name: str, config: Any) -> float:
    """Standard deviation of a linear in a tower of CLIP's or of a head on it.

    Args:
        name: from the backbone.
        config: of the tower.

    Returns:
        less for what goes into the residual stream, by depth (CLIP's own rule)
    """
    factor, depth = config.initializer_factor, (2 * config.num_hidden_layers) ** -0.5
    if name.endswith("fc1.weight"):
        return float((2 * config.hidden_size) ** -0.5 * factor)
    if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "fc2.weight")):
        return float(config.hidden_size**-0.5 * depth * factor)
    return float(config.hidden_size**-0.5 * factor)
