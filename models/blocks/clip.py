"""The pre-norm blocks of CLIP's towers (Radford et al. 2021), which SigLIP's have too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn

from tfcli.models.blocks.cross_decoder import Attention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm


class TowerConfig(Protocol):
    """What the blocks read of a config."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def hidden_act(self) -> str: ...
    @property
    def layer_norm_eps(self) -> float: ...
    @property
    def attention_dropout(self) -> float: ...


class CLIPMLP(nn.Module):
    """Two linears with an activation between."""

    reads = ("fc1",)  # see `folding`

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
        config: gives the sizes.
        layer: index of the layer.
        attention: name of the attention backend.
        causal: each token sees only those before it, as in CLIP's tower for texts.
    """

    def __init__(self, config: TowerConfig, layer: int, attention: str, *, causal: bool) -> None:
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

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("layer_norm1", {"self_attn": self.self_attn})
        yield from after_norm("layer_norm2", {"mlp": self.mlp})


class CLIPEncoder(nn.Module):
    """The blocks. The last one's output is the last of the recorded states, before any norm."""

    def __init__(self, config: TowerConfig, attention: str, *, causal: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CLIPBlock(config, layer, attention, causal=causal)
            for layer in range(config.num_hidden_layers)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return context.finished(run_blocks(self.layers, x, context))


CLIP_WALK = CalibrationWalk(
    blocks="encoder.layers",
    groups=(
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        ("self_attn.out_proj",),
        ("mlp.fc1",),
        ("mlp.fc2",),
    ),
)
