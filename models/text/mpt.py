"""MPT (MosaicML 2023): ALiBi for positions, no biases, queries and keys that may be clipped.

Reference: transformers `modeling_mpt.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.mpt import MptConfig
from tfcli.models.context import Context
from tfcli.models.layers.alibi import Alibi
from tfcli.models.layers.attention import FusedRotaryAttention
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm


class MptAttention(FusedRotaryAttention):
    """Attention with `Wqkv` and `out_proj`."""

    fused = "Wqkv"
    out = "out_proj"


class MptModel(Backbone[MptConfig]):
    """Embeddings, blocks, final norm."""

    prefix = "transformer"
    tokens = "wte"
    walk = CalibrationWalk(
        blocks="blocks",
        groups=(("attn.Wqkv",), ("attn.out_proj",), ("ffn.up_proj",), ("ffn.down_proj",)),
    )

    def __init__(self, config: MptConfig, attention: str) -> None:
        super().__init__(config, attention)
        alibi = Alibi(config.num_attention_heads, largest=config.steepest)
        self.wte = Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(
            self.make_block(layer, alibi) for layer in range(config.num_hidden_layers)
        )
        self.norm_f = self.make_norm()

    def make_norm(self) -> nn.Module:
        """A norm, which has no bias."""
        return layer_norm(self.config.hidden_size, self.config.layer_norm_epsilon, bias=False)

    def make_block(self, layer: int, alibi: Alibi) -> nn.Module:
        """One layer."""
        config = self.config
        size, heads = config.hidden_size, config.num_attention_heads
        attend = MptAttention(
            size,
            heads,
            heads,
            config.head_dim,
            layer=layer,
            rotary=None,
            alibi=alibi,
            backend=self.attention,
            dropout=config.attention_dropout,
            scale=config.attention_scale,
            clip=config.clip_qkv or None,
        )
        mlp = PlainMLP(size, 4 * size, "gelu", bias=False, names=("up_proj", "down_proj"))
        return DecoderBlock(
            attend,
            mlp,
            self.make_norm,
            norms=("norm_1", None, "norm_2", None),
            attention_name="attn",
            mlp_name="ffn",
            dropout=config.attention_dropout,
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return context.finished(self.norm_f(run_blocks(self.blocks, x, context)))
