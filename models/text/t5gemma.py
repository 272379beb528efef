"""T5Gemma (Zhang et al. 2025): Gemma 2's blocks as an encoder and a decoder, of any two sizes.

Reference: transformers `modeling_t5gemma.py`; names of modules and parameters are the same. Without
an attention mask it takes ids of the padding for padding; here all of them count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.blocks.cross_decoder import CrossAttention
from tfcli.models.blocks.decoder import DecoderBlock, NormNames
from tfcli.models.blocks.run import run_blocks
from tfcli.models.configs.t5gemma import T5GemmaConfig, T5GemmaModuleConfig
from tfcli.models.context import Context
from tfcli.models.encoder_decoder import EncoderDecoder
from tfcli.models.layers.dropout import dropout_of
from tfcli.models.layers.embeddings import embed_inputs
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.rules import Rename
from tfcli.models.text.gemma2 import Gemma2Model

NORMS: NormNames = (
    "pre_self_attn_layernorm",
    "post_self_attn_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


class T5GemmaCrossBlock(DecoderBlock):
    """A decoder's block: between its halves it attends to the encoder's states.

    Args:
        cross: that attention.
        others: those of `DecoderBlock`.
    """

    def __init__(
        self,
        cross: CrossAttention,
        attention: nn.Module,
        mlp: nn.Module,
        make_norm: Callable[[], nn.Module],
        dropout: float,
    ) -> None:
        super().__init__(attention, mlp, make_norm, norms=NORMS, dropout=dropout)
        self.cross_attn = cross
        self.pre_cross_attn_layernorm = make_norm()
        self.post_cross_attn_layernorm = make_norm()

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = self.add_attention(x, context)
        added = self.cross_attn(self.pre_cross_attn_layernorm(x), context)
        x = x + self.dropout(self.post_cross_attn_layernorm(added))
        return self.add_mlp(x, context)


class T5GemmaMLP(GatedMLP):
    """Gemma's mlp, with dropout before its last linear.

    Args:
        sizes: those of `GatedMLP`.
        dropout: how much.
    """

    def __init__(self, *sizes: Any, dropout: float) -> None:
        super().__init__(*sizes)
        self.dropout = dropout_of(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        gate, up, down = (getattr(self, name) for name in self.names)
        return down(self.dropout(self.act(gate(x)) * up(x)))


class T5GemmaModuleModel(Gemma2Model):
    """The encoder or the decoder."""

    config: T5GemmaModuleConfig
    norm: nn.Module

    def __init__(self, config: T5GemmaModuleConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.dropout = dropout_of(config.dropout_rate)
        if config.is_decoder:
            own, out, *mlp = self.walk.groups
            cross = tuple(f"cross_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
            groups = (own, out, cross[:1], cross[1:3], cross[3:], *mlp)
            self.walk = replace(self.walk, groups=groups)

    def attention_options(self, layer: int) -> dict[str, Any]:
        options = super().attention_options(layer)
        return options | {"bidirectional": not self.config.is_decoder}

    def make_mlp(self, layer: int) -> nn.Module:
        config = self.config
        sizes = (config.hidden_size, config.intermediate_size, config.hidden_act, False)
        return T5GemmaMLP(*sizes, dropout=config.dropout_rate)

    def make_block(self, layer: int) -> nn.Module:
        parts = (self.make_attention(layer), self.make_mlp(layer), self.make_norm)
        rate = self.config.dropout_rate
        if not self.config.is_decoder:
            return DecoderBlock(*parts, norms=NORMS, dropout=rate)
        return T5GemmaCrossBlock(self.make_cross(layer), *parts, rate)

    def make_cross(self, layer: int) -> CrossAttention:
        """One layer's attention to the encoder's states, which may have another width."""
        config = self.config
        return CrossAttention(
            config.hidden_size,
            config.num_attention_heads,
            config.head_dim,
            layer=layer,
            causal=False,
            backend=self.attention,
            bias=config.attention_bias,
            scale=config.query_pre_attn_scalar**-0.5,
            dropout=config.attention_dropout,
            softcap=config.attn_logit_softcapping,
            kv_heads=config.num_key_value_heads,
            source_size=config.cross_attention_hidden_size,
            names=("q_proj", "k_proj", "v_proj", "o_proj"),
        )

    def block_lists(self) -> tuple[str, ...]:
        return ("layers",)

    def embed(self, **inputs: Any) -> torch.Tensor:
        """Rows of the table, or what is given in their place, times sqrt(d)."""
        where = "decoder_input_ids" if self.config.is_decoder else "input_ids"
        return self.scaled(embed_inputs(self.embed_tokens, **inputs, where=where))

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        x = self.norm(run_blocks(self.layers, self.dropout(x), context))
        return context.finished(self.dropout(x))


class T5GemmaModel(EncoderDecoder[T5GemmaConfig]):
    """An encoder and a decoder, each with its table; the head shares the decoder's."""

    tokens = "decoder.embed_tokens"
    parts: ClassVar[dict[str, str]] = {"encoder": "encoder", "decoder": "decoder"}
    shares: ClassVar[dict[str, str]] = {}
    rules = (Rename(r"^lm_head\.", "lm_head.out_proj."),)

    def __init__(self, config: T5GemmaConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.encoder = self.make_part("encoder")
        self.decoder = self.make_part("decoder")

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        return self.decoder.adjust_logits(logits)
