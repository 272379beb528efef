"""DINOv2 (Oquab et al. 2023), also with registers (Darcet et al. 2023).

Reference: transformers `modeling_dinov2.py` and `modeling_dinov2_with_registers.py`; names of
modules and parameters are those of its modules, except for the gated mlp, which is one stored
linear. Checkpoints have the names of before transformers 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.blocks.clip import CLIPMLP
from tfcli.models.blocks.cross_decoder import Attention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.dinov2 import Dinov2Config
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.layer_scale import DropPath, LayerScale
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.patches import (
    PatchEmbedding,
    image_or_embeds,
    image_positions,
    masked_patches,
)
from tfcli.models.vision.tower import VisionBackbone
from tfcli.models.vision.vit import ATTENTION_RULES, PROJECTIONS


class Dinov2Embeddings(nn.Module):
    """Patches after a token that stands for the whole image, positions, then registers.

    Positions are resized to images of any size.
    """

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        size, registers = config.hidden_size, config.num_register_tokens
        self.cls_token = nn.Parameter(torch.empty(1, 1, size))
        self.mask_token = nn.Parameter(torch.empty(1, size)) if config.use_mask_token else None
        self.register_tokens = nn.Parameter(torch.empty(1, registers, size)) if registers else None
        projection = PatchEmbedding(config.num_channels, size, config.patch_size)
        self.patch_embeddings = nn.ModuleDict({"projection": projection})
        self.position_embeddings = nn.Parameter(torch.empty(1, config.num_patches + 1, size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.antialias = config.smooths_positions

    def forward(
        self, pixel_values: torch.Tensor, bool_masked_pos: torch.Tensor | None
    ) -> torch.Tensor:
        """Embed images.

        Args:
            pixel_values (Tensor): [b, c, h, w]
            bool_masked_pos (Tensor): [b, patches] of 0/1: patches that are hidden; None: none.

        Returns:
            [b, 1 + registers + patches, d]
        """
        projection = self.patch_embeddings["projection"]
        assert isinstance(projection, PatchEmbedding)
        patches = masked_patches(projection(pixel_values), bool_masked_pos, self.mask_token)
        x = torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1)
        grid = projection.grid(pixel_values)
        table = self.position_embeddings[0]
        x = x + image_positions(table, grid, leading=1, antialias=self.antialias)
        if self.register_tokens is not None:
            registers = self.register_tokens.expand(len(x), -1, -1)
            x = torch.cat((x[:, :1], registers, x[:, 1:]), dim=1)
        return self.dropout(x)


class SwiGLU(nn.Module):
    """A gated mlp whose two inner linears are stored as one."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.weights_in = linear(size, 2 * inner, bias=True)
        self.weights_out = linear(inner, size, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        gate, up = self.weights_in(x).chunk(2, dim=-1)
        return self.weights_out(F.silu(gate) * up)


class Dinov2Block(nn.Module):
    """x + scale(attention(norm(x))), then x + scale(mlp(norm(x)))."""

    def __init__(self, config: Dinov2Config, layer: int, attention: str) -> None:
        super().__init__()
        size, eps, inner = config.hidden_size, config.layer_norm_eps, config.inner_size
        self.norm1 = layer_norm(size, eps)
        self.attention = Attention(
            size,
            config.num_attention_heads,
            config.head_dim,
            layer=layer,
            causal=False,
            backend=attention,
            bias=config.qkv_bias,
            out_bias=True,
            dropout=config.attention_probs_dropout_prob,
            names=PROJECTIONS,
        )
        self.layer_scale1 = LayerScale(size)
        self.drop_path = DropPath(config.drop_path_rate)
        self.norm2 = layer_norm(size, eps)
        gated = config.use_swiglu_ffn
        self.mlp = SwiGLU(size, inner) if gated else CLIPMLP(size, inner, config.hidden_act)
        self.layer_scale2 = LayerScale(size)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.drop_path(self.layer_scale1(self.attention(self.norm1(x), context)))
        return x + self.drop_path(self.layer_scale2(self.mlp(self.norm2(x))))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("norm1", {"attention": self.attention})
        yield from after_norm("norm2", {"mlp": self.mlp})


class Dinov2Encoder(nn.Module):
    """The blocks. The last one's output is the last of the recorded states, before the norm."""

    def __init__(self, config: Dinov2Config, attention: str) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            Dinov2Block(config, layer, attention) for layer in range(config.num_hidden_layers)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return context.finished(run_blocks(self.layer, x, context))


class Dinov2Model(VisionBackbone[Dinov2Config]):
    """Patches with positions, blocks, a norm. The image as a whole is the first state."""

    prefix = "dinov2"
    inputs = ("bool_masked_pos",)
    rules = ATTENTION_RULES

    def __init__(self, config: Dinov2Config, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.embeddings = Dinov2Embeddings(config)
        self.encoder = Dinov2Encoder(config, attention)
        self.layernorm = layer_norm(config.hidden_size, config.layer_norm_eps)
        gated = config.use_swiglu_ffn
        self.walk = CalibrationWalk(
            blocks="encoder.layer",
            groups=(
                ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
                ("attention.o_proj",),
                ("mlp.weights_in" if gated else "mlp.fc1",),
                ("mlp.weights_out" if gated else "mlp.fc2",),
            ),
        )

    @property
    def leading(self) -> int:
        return 1 + self.config.num_register_tokens

    def embed(
        self,
        *,
        pixel_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        bool_masked_pos: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """pixel_values (Tensor): [b, c, h, w] -> [b, leading + patches, d]"""
        x = image_or_embeds(pixel_values, inputs_embeds)
        return x if x is inputs_embeds else self.embeddings(x, bool_masked_pos)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return self.layernorm(self.encoder(x, context))

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return x[:, 0]

    def summary(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The first state beside the mean of the patches': [b, 2 * d]"""
        return torch.cat((x[:, 0], x[:, self.leading :].mean(1)), dim=-1)

    @property
    def summary_width(self) -> int:
        return 2 * self.width()

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        if name.endswith("lambda1"):
            return torch.full(shape, float(self.config.layerscale_value))
        zero = ("embeddings.mask_token", "embeddings.register_tokens")
        return torch.zeros(shape) if name in zero else None


class Dinov2WithRegistersModel(Dinov2Model):
    """See `Dinov2Model`."""

    prefix = "dinov2_with_registers"
