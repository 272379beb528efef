"""CTRL (Keskar et al. 2019): pre-norm decoder with computed positions; codes say what to write.

Reference: transformers `modeling_ctrl.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.cross_decoder import Attention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.ctrl import CTRLConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.embeddings import Embedding, check_length, embed_inputs
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.sinusoidal import SinusoidalPositions
from tfcli.models.rules import Rename

_EPS = 1e-6  # of the norms within a block
_NAMES = ("Wq", "Wk", "Wv", "dense")


class CTRLBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: CTRLConfig, layer: int, attention: str) -> None:
        super().__init__()
        size = config.hidden_size
        self.multi_head_attention = Attention(
            size,
            config.num_attention_heads,
            config.head_dim,
            layer=layer,
            causal=True,
            backend=attention,
            names=_NAMES,
        )
        self.ffn = PlainMLP(size, config.dff, "relu", bias=True, names=("0", "2"))
        self.layernorm1 = layer_norm(size, _EPS)
        self.layernorm2 = layer_norm(size, _EPS)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.dropout(self.multi_head_attention(self.layernorm1(x), context))
        return x + self.dropout(self.ffn(self.layernorm2(x)))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        attention = {"multi_head_attention": self.multi_head_attention}
        yield from after_norm("layernorm1", attention)
        yield from after_norm("layernorm2", {"ffn": self.ffn})


class CTRLModel(Backbone[CTRLConfig]):
    """Words and positions, blocks, final norm. Input `token_type_ids` [b, s] are words too."""

    prefix = "transformer"
    tokens = "w"
    inputs = ("token_type_ids",)
    rules = (Rename(r"^score\.", "classifier."),)
    walk = CalibrationWalk(
        blocks="h",
        groups=(
            tuple(f"multi_head_attention.{name}" for name in _NAMES[:3]),
            ("multi_head_attention.dense",),
            ("ffn.0",),
            ("ffn.2",),
        ),
    )

    def __init__(self, config: CTRLConfig, attention: str) -> None:
        super().__init__(config, attention)
        size = config.hidden_size
        self.w = Embedding(config.vocab_size, size)
        self.positions = SinusoidalPositions(config.max_position_embeddings, size, stored=False)
        self.dropout = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(
            CTRLBlock(config, layer, attention) for layer in range(config.num_hidden_layers)
        )
        self.layernorm = layer_norm(size, config.layer_norm_epsilon)

    def head_bias(self) -> bool:
        return True

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        check_length(context, self.config.max_position_embeddings)
        types = context.inputs.get("token_type_ids")
        if types is not None:
            x = x + embed_inputs(self.w, types, where="token_type_ids")
        x = x * math.sqrt(x.shape[-1]) + self.positions(context.positions).to(x.dtype)
        x = run_blocks(self.h, self.dropout(x), context)
        return context.finished(self.layernorm(x))

    def default(self, name: str) -> torch.Tensor | None:
        return self.positions.table() if name == "positions.weight" else None
