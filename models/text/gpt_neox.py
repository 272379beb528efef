"""GPT-NeoX (Black et al. 2022): rotary in a part of each head, attention beside the mlp.

Reference: transformers `modeling_gpt_neox.py`; names of modules and parameters are the same, but
for the language-model head, which checkpoints call `embed_out`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.gpt_neox import GPTNeoXConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.fused_attention import GroupedAttention
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.rotary import Rotary
from tfcli.models.rules import OldName, Rename


class GPTNeoXBlock(nn.Module):
    """x + attention(norm(x)) + mlp(norm(x)), or one after the other; each has a norm of its own.

    Args:
        config: the family's.
        attention: [b, s, d] and the context -> [b, s, d]
    """

    def __init__(self, config: GPTNeoXConfig, attention: nn.Module) -> None:
        super().__init__()
        self.parallel = config.use_parallel_residual
        self.input_layernorm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.post_attention_layernorm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.attention = attention
        self.mlp = PlainMLP(
            config.hidden_size,
            config.intermediate_size,
            config.hidden_act,
            bias=True,
            names=("dense_h_to_4h", "dense_4h_to_h"),
        )
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        attended = x + self.dropout(self.attention(self.input_layernorm(x), context))
        seen = x if self.parallel else attended
        return attended + self.dropout(self.mlp(self.post_attention_layernorm(seen)))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("input_layernorm", {"attention": self.attention})
        yield from after_norm("post_attention_layernorm", {"mlp": self.mlp})


class GPTNeoXModel(Backbone[GPTNeoXConfig]):
    """Embeddings, blocks, final norm."""

    prefix = "gpt_neox"
    tokens = "embed_in"
    rules = (
        Rename(r"^lm_head\.", "embed_out.", of_files=True),
        OldName(r"^(?:lm_head|model\.embed_out)\.", "embed_out."),
        OldName(r"^model\.h\.", "gpt_neox.layers."),  # this and the next are MLX's
        OldName(r"^model\.(?=embed_in\.|final_layer_norm\.)", "gpt_neox."),
    )
    ignorable: ClassVar[dict[str, str]] = {
        r"\.attention\.(masked_)?bias$": "a causal mask, which is computed here",
        r"rotary_emb\.inv_freq$": "computed from the config",
    }
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("attention.query_key_value",),
            ("attention.dense",),
            ("mlp.dense_h_to_4h",),
            ("mlp.dense_4h_to_h",),
        ),
    )

    def __init__(self, config: GPTNeoXConfig, attention: str) -> None:
        super().__init__(config, attention)
        rotary = Rotary(config.rope_parameters, config.head_dim, config.max_position_embeddings)
        self.embed_in = Embedding(config.vocab_size, config.hidden_size)
        self.emb_dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(
            GPTNeoXBlock(
                config,
                GroupedAttention(
                    config.hidden_size,
                    config.num_attention_heads,
                    config.num_attention_heads,
                    config.head_dim,
                    layer=layer,
                    rotary=rotary,
                    backend=attention,
                    bias=config.attention_bias,
                    dropout=config.attention_dropout,
                ),
            )
            for layer in range(config.num_hidden_layers)
        )
        self.final_layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        x = run_blocks(self.layers, self.emb_dropout(x), context)
        return context.finished(self.final_layer_norm(x))
