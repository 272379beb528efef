"""SigLIP's tower for images (Zhai et al. 2023): no class token, pooled by attention.

Reference: transformers `modeling_siglip.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from tfcli.models.blocks.attention_pool import AttentionPool
from tfcli.models.blocks.clip import CLIP_WALK, CLIPEncoder
from tfcli.models.configs.siglip import PooledVisionConfig, SiglipVisionConfig
from tfcli.models.context import Context
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

_XAVIER = (
    "q_proj.weight",
    "k_proj.weight",
    "v_proj.weight",
    "self_attn.out_proj.weight",
    "fc1.weight",
    "fc2.weight",
    "head.probe",
    "head.attention.in_proj_weight",
)
_CUT = 0.87962566103423978  # standard deviation of a normal that is cut at 2 of them


class SiglipVisionEmbeddings(nn.Module):
    """Patches and their positions."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.patch_embedding = PatchEmbedding(config.num_channels, size, config.patch_size)
        self.position_embedding = Embedding(config.num_patches, size)
        self.image_size = config.image_size

    def forward(self, pixel_values: torch.Tensor, *, interpolate: bool) -> torch.Tensor:
        """pixel_values (Tensor): [b, c, h, w] -> [b, patches, d]; see `CLIPVisionEmbeddings`."""
        patches = self.patch_embedding(pixel_values)
        if not interpolate:
            require_size(pixel_values, self.image_size, self.patch_embedding.patch)
        grid = self.patch_embedding.grid(pixel_values)
        return patches + image_positions(self.position_embedding.weight, grid, leading=0)


S = TypeVar("S", bound=PooledVisionConfig)


class SiglipVisionTower(VisionBackbone[S]):
    """Patches, blocks, a norm, and where the config says so attention that pools."""

    prefix = "vision_model"
    rules = (OldName(r"^(vision_model\.)vision_model\.", r"\1"),)
    ignorable: ClassVar[dict[str, str]] = {r"embeddings\.position_ids$": "counted, not stored"}
    walk = CLIP_WALK

    def __init__(self, config: S, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        size, eps = config.hidden_size, config.layer_norm_eps
        self.embeddings = self.make_embeddings()
        self.encoder = CLIPEncoder(config, attention)
        self.post_layernorm = layer_norm(size, eps)
        if config.vision_use_head:
            self.head = AttentionPool(
                size,
                config.num_attention_heads,
                config.intermediate_size,
                act=config.hidden_act,
                eps=eps,
                backend=attention,
            )

    def make_embeddings(self) -> nn.Module:
        """What makes vectors of images."""
        raise TypeError(f"{type(self).__name__} makes no embeddings")

    @property
    def leading(self) -> int:
        return 0

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return self.post_layernorm(self.encoder(x, context))

    def pooler_output(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor | None:
        return self.head(x) if self.config.vision_use_head else None

    def summary(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The mean of the patches' states: [b, d]"""
        return x.mean(1)

    def init_std(self, name: str) -> float:
        return float(self.config.hidden_size**-0.5)

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        return siglip_values(name, shape, random)


class SiglipVisionModel(SiglipVisionTower[SiglipVisionConfig]):
    """See `SiglipVisionTower`."""

    def make_embeddings(self) -> nn.Module:
        return SiglipVisionEmbeddings(self.config)

    def embed(
        self,
        *,
        pixel_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **inputs: Any,
    ) -> torch.Tensor:
        """pixel_values (Tensor): [b, c, h, w] -> [b, patches, d]"""
        x = image_or_embeds(pixel_values, inputs_embeds)
        if x is inputs_embeds:
            return x
        return self.embeddings(x, interpolate=interpolate_pos_encoding)


def siglip_values(name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
    """New values of a tower's parameter; see `Backbone.drawn`.

    Position and token tables and classifiers are left: they are normal by the tower's width.
    """
    values = torch.empty(shape)
    if name.endswith(_XAVIER):
        return nn.init.xavier_uniform_(values, generator=random)
    if name.endswith(("fc1.bias", "fc2.bias")):
        return values.normal_(0.0, 1e-6, generator=random)
    if name.endswith(("patch_embedding.weight", "head.attention.out_proj.weight", "head.weight")):
        return values.normal_(0.0, shape[1:].numel() ** -0.5 / _CUT, generator=random)
    return None
