"""CLIP's tower for images (Radford et al. 2021): a pre-norm transformer over patches.

Reference: transformers `modeling_clip.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.cross_decoder import Attention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.clip import CLIPVisionConfig
from tfcli.models.context import Context
from tfcli.models.layers.activations import activation
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.patches import (
    PatchEmbedding,
    image_or_embeds,
    require_size,
    resized_positions,
)
from tfcli.models.rules import OldName


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
        self.image_size, self.patch = config.image_size, config.patch_size

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
            require_size(pixel_values, self.image_size, self.patch)
        x = torch.cat((self.class_embedding.expand(len(patches), 1, -1), patches), dim=1)
        table = self.position_embedding.weight
        rows, columns = (side // self.patch for side in pixel_values.shape[-2:])
        return x + torch.cat((table[:1], resized_positions(table[1:], rows, columns)))


class CLIPMLP(nn.Module):
    """Two linears with an activation between."""

    def __init__(self, size: int, inner: int, act: str) -> None:
        super().__init__()
        self.fc1 = linear(size, inner, bias=True)
        self.fc2 = linear(inner, size, bias=True)
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.fc2(self.act(self.fc1(x)))


class CLIPBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        config: gives the sizes; any config with CLIP's keys.
        layer: index of the layer.
        attention: name of the attention backend.
        causal: each token sees only those before it, as in CLIP's tower for texts.
    """

    def __init__(self, config: Any, layer: int, attention: str, *, causal: bool = False) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.layer_norm1 = layer_norm(size, eps)
        self.self_attn = Attention(
            size,
            config.num_attention_heads,
            config.head_dim,
            layer=layer,
            causal=causal,
            backend=attention,
            dropout=config.attention_dropout,
        )
        self.layer_norm2 = layer_norm(size, eps)
        self.mlp = CLIPMLP(size, config.intermediate_size, config.hidden_act)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.self_attn(self.layer_norm1(x), context)
        return x + self.mlp(self.layer_norm2(x))


class CLIPEncoder(nn.Module):
    """The blocks."""

    def __init__(self, config: Any, attention: str, *, causal: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CLIPBlock(config, layer, attention, causal=causal)
            for layer in range(config.num_hidden_layers)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return run_blocks(self.layers, x, context)


WALK = CalibrationWalk(
    blocks="encoder.layers",
    groups=(
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        ("self_attn.out_proj",),
        ("mlp.fc1",),
        ("mlp.fc2",),
    ),
)


class CLIPVisionModel(Backbone[CLIPVisionConfig]):
    """Patches, a norm, blocks. The image as a whole is the first state, after a norm."""

    prefix = "vision_model"
    main = "pixel_values"
    inputs = ("interpolate_pos_encoding",)
    packs = False
    rules = (OldName(r"^(vision_model\.)vision_model\.", r"\1"),)
    ignorable: ClassVar[dict[str, str]] = {r"embeddings\.position_ids$": "counted, not stored"}
    walk = WALK

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
        return context.finished(self.encoder(self.pre_layrnorm(x), context))

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return self.post_layernorm(x[:, 0])

    def init_std(self, name: str) -> float:
        """Smaller into the residual stream, and by depth (CLIP's own rule)."""
        config = self.config
        factor, depth = config.initializer_factor, (2 * config.num_hidden_layers) ** -0.5
        if name.endswith(("patch_embedding.weight", "position_embedding.weight")):
            return config.initializer_range * factor
        if name.endswith("fc1.weight"):
            return (2 * config.hidden_size) ** -0.5 * factor
        if name.endswith("self_attn.out_proj.weight"):
            return config.hidden_size**-0.5 * factor
        return config.hidden_size**-0.5 * depth * factor

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        if name != "embeddings.class_embedding":
            return None
        std = self.config.hidden_size**-0.5 * self.config.initializer_factor
        return torch.empty(shape).normal_(0.0, std, generator=random)
