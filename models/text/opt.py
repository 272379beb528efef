"""OPT (Zhang et al. 2022): learned positions, norms before or after, narrow embeddings at will.

Reference: transformers `modeling_opt.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.opt import OPTConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.activations import activation, is_homogeneous
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.embeddings import Embedding, check_length
from tfcli.models.layers.linear import linear

OFFSET = 2  # rows of the position table that no position uses


def norm(config: OPTConfig) -> nn.LayerNorm:
    """Layer norm, with weights only if the config says so."""
    return nn.LayerNorm(config.hidden_size, elementwise_affine=config.layer_norm_elementwise_affine)


class OPTAttention(RotaryAttention):
    """Attention without rotary, with `out_proj`."""

    out = "out_proj"


class OPTBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); or norm(x + attention(x)) and so on.

    Args:
        config: the family's.
        layer: index of the layer in the cache.
        attention: name of the attention backend.
    """

    def __init__(self, config: OPTConfig, layer: int, attention: str) -> None:
        super().__init__()
        heads, bias = config.num_attention_heads, config.enable_bias
        self.norm_first = config.do_layer_norm_before
        self.self_attn = OPTAttention(
            config.hidden_size,
            heads,
            heads,
            config.head_dim,
            layer=layer,
            rotary=None,
            backend=attention,
            bias=bias,
            dropout=config.attention_dropout,
        )
        self.self_attn_layer_norm = norm(config)
        self.fc1 = linear(config.hidden_size, config.intermediate_size, bias)
        self.fc2 = linear(config.intermediate_size, config.hidden_size, bias)
        self.final_layer_norm = norm(config)
        self.act = activation(config.activation_function)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        if self.norm_first:
            x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), context))
            return x + self.dropout(self.mlp(self.final_layer_norm(x)))
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, context)))
        return self.final_layer_norm(x + self.dropout(self.mlp(x)))

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.fc2(self.act(self.fc1(x)))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        if self.norm_first:
            yield from after_norm("self_attn_layer_norm", {"self_attn": self.self_attn})
            yield from after_norm("final_layer_norm", {"fc1": self.fc1})
        if is_homogeneous(self.act):
            yield Fold("fc1", ("fc2",))


class OPTDecoder(nn.Module):
    """All there is: checkpoints have this level of names."""

    def __init__(self, config: OPTConfig, attention: str) -> None:
        super().__init__()
        narrow, wide = config.word_embed_proj_dim, config.hidden_size
        self.embed_tokens = Embedding(config.vocab_size, narrow, config.pad_token_id)
        self.embed_positions = Embedding(config.max_position_embeddings + OFFSET, wide)
        self.project_in = linear(narrow, wide, bias=False) if narrow != wide else None
        self.project_out = linear(wide, narrow, bias=False) if narrow != wide else None
        self.final_layer_norm = norm(config) if config.final_norm else None
        self.layers = nn.ModuleList(
            OPTBlock(config, layer, attention) for layer in range(config.num_hidden_layers)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, word_embed_proj_dim], the embedded tokens -> the same shape"""
        if self.project_in is not None:
            x = self.project_in(x)
        check_length(context, self.embed_positions.num_embeddings - OFFSET)
        x = run_blocks(self.layers, x + self.embed_positions(context.positions + OFFSET), context)
        if self.final_layer_norm is not None:
            x = self.final_layer_norm(x)
        return x if self.project_out is None else self.project_out(x)


class OPTModel(Backbone[OPTConfig]):
    """The decoder."""

    tokens = "decoder.embed_tokens"
    walk = CalibrationWalk(
        blocks="decoder.layers",
        groups=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.out_proj",),
            ("fc1",),
            ("fc2",),
        ),
    )

    def __init__(self, config: OPTConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.decoder = OPTDecoder(config, attention)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return context.finished(self.decoder(x, context))

    def width(self) -> int:
        """See `Backbone.width`."""
        return self.decoder.embed_tokens.embedding_dim
