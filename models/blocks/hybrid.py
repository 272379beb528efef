"""The pre-norm block of decoders whose layers differ in how they mix positions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from tfcli.models.context import Context


class Names(NamedTuple):
    """What checkpoints call the parts of a block."""

    mixer: str = "self_attn"
    mlp: str = "mlp"
    mixer_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"


class HybridBlock(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)).

    Args:
        mixer: [b, s, d] and the context -> [b, s, d]: attention, a recurrence or a convolution.
        mlp: [b, s, d] -> [b, s, d]; a mixture of experts gets the context too.
        mixer_norm: before the mixer.
        mlp_norm: before the mlp.
        names: of these four.
        sparse: the mlp is a mixture of experts.
        scale: factor on what both halves add.
    """

    def __init__(
        self,
        mixer: nn.Module,
        mlp: nn.Module,
        mixer_norm: nn.Module,
        mlp_norm: nn.Module,
        names: Names,
        *,
        sparse: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.names = names
        self.sparse = sparse
        self.scale = scale
        for name, part in zip(names, (mixer, mlp, mixer_norm, mlp_norm), strict=True):
            self.add_module(name, part)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        mixer, mixer_norm = getattr(self, self.names.mixer), getattr(self, self.names.mixer_norm)
        x = torch.add(x, mixer(mixer_norm(x), context), alpha=self.scale)
        normed = getattr(self, self.names.mlp_norm)(x)
        return torch.add(x, self.feed(normed, context), alpha=self.scale)

    def feed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """What the mlp makes of normed states. x (Tensor): [b, s, d] -> [b, s, d]"""
        mlp = getattr(self, self.names.mlp)
        return mlp(x, context) if self.sparse else mlp(x)
