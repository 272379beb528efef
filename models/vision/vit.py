"""ViT (Dosovitskiy et al. 2020) and DeiT (Touvron et al. 2021): pre-norm transformers over patches.

Reference: transformers `modeling_vit.py`; names of modules and parameters are those of its modules.
Checkpoints have the names of before transformers 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.blocks.clip import CLIPMLP
from tfcli.models.blocks.cross_decoder import Attention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.vit import ViTConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.patches import (
    PatchEmbedding,
    image_or_embeds,
    image_positions,
    masked_patches,
    require_size,
)
from tfcli.models.rules import Rename
from tfcli.models.vision.tower import VisionBackbone

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
ATTENTION_RULES = (
    Rename(r"\.attention\.q_proj\.", ".attention.attention.query.", of_files=True),
    Rename(r"\.attention\.k_proj\.", ".attention.attention.key.", of_files=True),
    Rename(r"\.attention\.v_proj\.", ".attention.attention.value.", of_files=True),
    Rename(r"\.attention\.o_proj\.", ".attention.output.dense.", of_files=True),
)


class ViTEmbeddings(nn.Module):
    """Patches after tokens that stand for the whole image, and positions.

    Args:
        config: of the family.
        tokens: names of the leading tokens, in their order.
    """

    def __init__(self, config: ViTConfig, tokens: tuple[str, ...]) -> None:
        super().__init__()
        size = config.hidden_size
        self.tokens = tokens
        for name in tokens:
            self.register_parameter(name, nn.Parameter(torch.empty(1, 1, size)))
        self.mask_token: nn.Parameter | None = None
        projection = PatchEmbedding(config.num_channels, size, config.patch_size)
        self.patch_embeddings = nn.ModuleDict({"projection": projection})
        rows = config.num_patches + len(tokens)
        self.position_embeddings = nn.Parameter(torch.empty(1, rows, size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.image_size = config.image_size

    @property
    def projection(self) -> PatchEmbedding:
        """Embeds patches."""
        projection = self.patch_embeddings["projection"]
        assert isinstance(projection, PatchEmbedding)
        return projection

    def forward(
        self,
        pixel_values: torch.Tensor,
        bool_masked_pos: torch.Tensor | None,
        *,
        interpolate: bool,
    ) -> torch.Tensor:
        """Embed images.

        Args:
            pixel_values (Tensor): [b, c, h, w]
            bool_masked_pos (Tensor): [b, patches] of 0/1: patches that are hidden; None: none.
            interpolate: images may have another size than the table of positions is for.

        Returns:
            [b, leading + patches, d]
        """
        patches = self.projection(pixel_values)
        if not interpolate:
            require_size(pixel_values, self.image_size, self.projection.patch)
        patches = masked_patches(patches, bool_masked_pos, self.mask_token)
        leading = [getattr(self, name).expand(len(patches), -1, -1) for name in self.tokens]
        x = torch.cat((*leading, patches), dim=1)
        grid = self.projection.grid(pixel_values)
        table = image_positions(self.position_embeddings[0], grid, leading=len(leading))
        return self.dropout(x + table)


class ViTBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ViTConfig, layer: int, attention: str) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.layernorm_before = layer_norm(size, eps)
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
        self.layernorm_after = layer_norm(size, eps)
        self.mlp = CLIPMLP(size, config.intermediate_size, config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.dropout(self.attention(self.layernorm_before(x), context))
        return x + self.dropout(self.mlp(self.layernorm_after(x)))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("layernorm_before", {"attention": self.attention})
        yield from after_norm("layernorm_after", {"mlp": self.mlp})


class ViTPooler(nn.Module):
    """The first token's state through a linear and an activation."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        size = config.pooler_output_size or config.hidden_size
        self.dense = linear(config.hidden_size, size, bias=True)
        self.act = activation(config.pooler_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d] -> [b, pooler_output_size]"""
        return self.act(self.dense(x))


class ViTModel(VisionBackbone[ViTConfig]):
    """Patches with positions, blocks, a norm, and for one vector an image a pooler."""

    prefix = "vit"
    inputs = ("interpolate_pos_encoding", "bool_masked_pos")
    optional: ClassVar[tuple[str, ...]] = ("pooler.", "embeddings.mask_token")
    rules = (
        *ATTENTION_RULES,
        Rename(r"\.mlp\.fc1\.", ".intermediate.dense.", of_files=True),
        Rename(r"\.mlp\.fc2\.", ".output.dense.", of_files=True),
        Rename(r"\.layers\.(?=\d)", ".encoder.layer.", of_files=True),
    )
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
            ("attention.o_proj",),
            ("mlp.fc1",),
            ("mlp.fc2",),
        ),
    )
    leading_tokens: ClassVar[tuple[str, ...]] = ("cls_token",)

    def __init__(self, config: ViTConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.embeddings = ViTEmbeddings(config, self.leading_tokens)
        self.layers = nn.ModuleList(
            ViTBlock(config, layer, attention) for layer in range(config.num_hidden_layers)
        )
        self.layernorm = layer_norm(config.hidden_size, config.layer_norm_eps)

    @property
    def leading(self) -> int:
        return len(self.leading_tokens)

    def add_pooler(self) -> None:
        self.pooler = ViTPooler(self.config)

    def add_mask_token(self) -> None:
        """Make the vector that stands for hidden patches, for the head that fills them in."""
        self.embeddings.mask_token = nn.Parameter(torch.empty(1, 1, self.config.hidden_size))

    def embed(
        self,
        *,
        pixel_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        bool_masked_pos: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """pixel_values (Tensor): [b, c, h, w] -> [b, leading + patches, d]"""
        x = image_or_embeds(pixel_values, inputs_embeds)
        if x is inputs_embeds:
            return x
        return self.embeddings(x, bool_masked_pos, interpolate=interpolate_pos_encoding)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return self.layernorm(context.finished(run_blocks(self.layers, x, context)))

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return self.pooler(x[:, 0])

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        return torch.zeros(shape) if name == "embeddings.mask_token" else None


class DeiTModel(ViTModel):
    """ViT with a second leading token, which learns from a teacher."""

    prefix = "deit"
    leading_tokens = ("cls_token", "distillation_token")

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        tables = ("_token", "embeddings.position_embeddings")
        return torch.zeros(shape) if name.endswith(tables) else None
