"""Nomic BERT (Nussbaum et al. 2024): BERT with rotary positions, a gated mlp and few biases.

Reference: transformers `modeling_nomic_bert.py`. Names are those of checkpoints, which are not its.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone, first_states
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.nomic_bert import NomicBertConfig
from tfcli.models.context import Context
from tfcli.models.layers.attention import FusedRotaryAttention
from tfcli.models.layers.embeddings import Embedding, check_ids
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.rotary import Rotary
from tfcli.models.rules import Rename
from tfcli.models.text.bert import BertPooler


class NomicBertAttention(FusedRotaryAttention):
    """Attention under the names of its checkpoints."""

    fused = "Wqkv"
    out = "out_proj"


class NomicBertBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: NomicBertConfig, layer: int, rotary: Rotary, attention: str) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.attn = NomicBertAttention(
            size,
            heads,
            heads,
            config.head_dim,
            layer=layer,
            rotary=rotary,
            backend=attention,
            dropout=config.attention_probs_dropout_prob,
            bidirectional=True,
        )
        self.norm1 = layer_norm(size, config.layer_norm_eps)
        inner, names = config.intermediate_size, ("fc12", "fc11", "fc2")
        self.mlp = GatedMLP(size, inner, config.hidden_act, bias=False, names=names)
        self.norm2 = layer_norm(size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = self.norm1(x + self.dropout(self.attn(x, context)))
        return self.norm2(x + self.dropout(self.mlp(x)))


class NomicBertModel(Backbone[NomicBertConfig]):
    """Words and segments, blocks, and a pooler for classifiers of whole inputs."""

    prefix = "nomic_bert"
    tokens = "embeddings.word_embeddings"
    inputs = ("token_type_ids",)
    optional = ("pooler.",)
    rules = (Rename(r"^(cls\.predictions\.transform)\.LayerNorm", r"\1.layer_norm"),)
    ignorable: ClassVar[dict[str, str]] = {
        r"(rotary_emb\.|^)(original_)?inv_freq$": "computed from the config"
    }
    walk = CalibrationWalk(
        blocks="encoder.layers",
        groups=(
            ("attn.Wqkv",),
            ("attn.out_proj",),
            ("mlp.fc12", "mlp.fc11"),
            ("mlp.fc2",),
        ),
    )

    def __init__(self, config: NomicBertConfig, attention: str) -> None:
        super().__init__(config, attention)
        size = config.hidden_size
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": Embedding(config.vocab_size, size, config.pad_token_id),
                "token_type_embeddings": Embedding(config.type_vocab_size, size),
            }
        )
        self.emb_ln = layer_norm(size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        rotary = Rotary(config.rope_parameters, config.head_dim, config.max_position_embeddings)
        blocks = (
            NomicBertBlock(config, layer, rotary, attention)
            for layer in range(config.num_hidden_layers)
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(blocks)})

    def add_pooler(self) -> None:
        """See `Backbone.add_pooler`."""
        self.pooler = BertPooler(self.config)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        types = context.inputs.get("token_type_ids")
        if types is None:
            types = torch.zeros(1, 1, dtype=torch.long, device=x.device)
        check_ids(types, self.config.type_vocab_size, "token_type_ids")
        x = self.emb_ln(x + self.embeddings["token_type_embeddings"](types))
        blocks = self.encoder["layers"]
        assert isinstance(blocks, nn.ModuleList)
        return context.finished(run_blocks(blocks, self.dropout(x), context))

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """See `Backbone.pooled`."""
        return self.pooler(first_states(x, attention_mask))
