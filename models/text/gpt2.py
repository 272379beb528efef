"""GPT-2 (Radford et al. 2019): pre-norm decoder with learned positions.

Reference: transformers `modeling_gpt2.py`; names of modules and parameters are the same. Its
checkpoints store linear weights as [in, out]; here they are ordinary linears over a transposed
view of the stored tensor, so that nothing is copied and quantization treats them as any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.caches.layers import KeyValueLayer
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.gpt import GPTConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm, span
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.embeddings import Embedding, check_length
from tfcli.models.layers.linear import linear
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.rules import OldName, Rule, Transpose


class GPT2Attention(KeyValueLayer):
    """Multi-head attention; queries, keys and values come from one linear."""

    def __init__(self, config: GPTConfig, layer: int, attention: str) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.layer = layer
        self.c_attn = linear(config.hidden_size, 3 * config.hidden_size, bias=True)
        self.c_proj = linear(config.hidden_size, config.hidden_size, bias=True)
        self.attend = Attend(attention, config.attention_scale(layer), config.attn_pdrop)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        query, key, value = (
            split_heads(part, self.head_dim) for part in self.c_attn(x).chunk(3, dim=-1)
        )
        mask = context.causal(self.layer)
        key, value = context.remember(self.layer, key, value)
        return self.c_proj(self.attend(query, key, value, mask, context.attentions))

    reads = ("c_attn",)  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        size = self.c_attn.get_parameter("weight").shape[0] // 3
        yield Fold("c_attn", ("c_proj",), span(2 * size, 3 * size))


class GPT2Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        attention: [b, s, d] and the context -> [b, s, d]
        config: gives the width, the mlp, the norms and the dropout.
    """

    def __init__(self, attention: nn.Module, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = layer_norm(config.hidden_size, config.layer_norm_epsilon)
        self.attn = attention
        self.ln_2 = layer_norm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = PlainMLP(
            config.hidden_size, config.intermediate_size, config.activation_function, bias=True
        )
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.dropout(self.attn(self.ln_1(x), context))
        return x + self.dropout(self.mlp(self.ln_2(x)))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("ln_1", {"attn": self.attn})
        yield from after_norm("ln_2", {"mlp": self.mlp})


class GPT2Model(Backbone[GPTConfig]):
    """Token and position embeddings, blocks, final norm.

    Families that differ from GPT-2 in their attention or block override what makes these.
    """

    prefix = "transformer"
    tokens = "wte"
    rules: ClassVar[tuple[Rule, ...]] = (
        Transpose(r"\.(attn|mlp)\.(c_attn|c_proj|c_fc)\.weight"),
        OldName(r"^model\.(?=h\.|wte\.|wpe\.|ln_f\.)", "transformer."),  # MLX
    )
    ignorable: ClassVar[dict[str, str]] = {
        r"\.attn\.(masked_)?bias$": "a causal mask, which is computed here"
    }
    walk = CalibrationWalk(
        blocks="h",
        groups=(("attn.c_attn",), ("attn.c_proj",), ("mlp.c_fc",), ("mlp.c_proj",)),
    )

    def __init__(self, config: GPTConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.wte = Embedding(config.vocab_size, config.hidden_size)
        self.add_positions()
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(self.make_block(layer) for layer in range(config.num_hidden_layers))
        self.ln_f = layer_norm(config.hidden_size, config.layer_norm_epsilon)

    def add_positions(self) -> None:
        """Make what tells positions apart."""
        self.wpe = Embedding(self.config.max_position_embeddings, self.config.hidden_size)

    def make_attention(self, layer: int) -> nn.Module:
        """One layer's attention."""
        return GPT2Attention(self.config, layer, self.attention)

    def make_block(self, layer: int) -> nn.Module:
        """One layer."""
        return GPT2Block(self.make_attention(layer), self.config)

    def positioned(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Add position embeddings. x (Tensor): [b, s, d] -> [b, s, d]"""
        check_length(context, self.wpe.num_embeddings)
        return x + self.wpe(context.positions)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        x = run_blocks(self.h, self.drop(self.positioned(x, context)), context)
        return context.finished(self.ln_f(x))

    def init_std(self, name: str) -> float:
        """Projections into the residual stream start smaller, by the square root of their count."""
        std = self.config.initializer_range
        if name.endswith("c_proj.weight"):
            return std / math.sqrt(2 * self.config.num_hidden_layers)
        return std
