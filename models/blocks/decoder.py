"""The decoder block of Llama and its descendants: attention, then an mlp, each with a residual."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.dropout import dropout_of
from tfcli.models.layers.moe import MixtureOfExperts

NormNames = tuple[str | None, str | None, str | None, str | None]
"""What checkpoints call the norms before and after attention, before and after the mlp; None where
there is none."""
PRE_NORMS: NormNames = ("input_layernorm", None, "post_attention_layernorm", None)
"""Llama's, which have their names by where they stand and not by what they are applied to."""


class DecoderBlock(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x))), with any of the four norms.

    Args:
        attention: [b, s, d] and the context -> [b, s, d], such as `RotaryAttention`.
        mlp: [b, s, d] -> [b, s, d]; a `MixtureOfExperts` is given the context too.
        make_norm: makes one norm.
        norms: which there are, and their names.
        attention_name: what checkpoints call the attention.
        mlp_name: what they call the mlp.
        dropout: on what both halves add to the residual stream.
        scale: factor on what both halves add.
    """

    def __init__(
        self,
        attention: nn.Module,
        mlp: nn.Module,
        make_norm: Callable[[], nn.Module],
        *,
        norms: NormNames = PRE_NORMS,
        attention_name: str = "self_attn",
        mlp_name: str = "mlp",
        dropout: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.add_module(attention_name, attention)
        self.add_module(mlp_name, mlp)
        for name in norms:
            if name is not None:
                self.add_module(name, make_norm())
        self.norms = norms
        self.attention_name, self.mlp_name = attention_name, mlp_name
        self.routes = isinstance(mlp, MixtureOfExperts)
        self.dropout = dropout_of(dropout)
        self.scale = scale

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.add_mlp(self.add_attention(x, context), context)

    def add_attention(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """The first half. x (Tensor): [b, s, d] -> [b, s, d]"""
        before, after, _, _ = self.norms
        attention = getattr(self, self.attention_name)
        added = self.normed(attention(self.normed(x, before), context), after)
        return torch.add(x, self.dropout(added), alpha=self.scale)

    def add_mlp(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """The second half. x (Tensor): [b, s, d] -> [b, s, d]"""
        _, _, before, after = self.norms
        added = self.normed(self.feed(self.normed(x, before), context), after)
        return torch.add(x, self.dropout(added), alpha=self.scale)

    def feed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """What the mlp makes of x. x (Tensor): [b, s, d] -> [b, s, d]"""
        mlp = getattr(self, self.mlp_name)
        return mlp(x, context) if self.routes else mlp(x)

    def folds(self) -> Iterator[Fold]:
        """See `folding`: what comes before attention and before the mlp."""
        first, _, second, _ = self.norms
        yield from after_norm(first, {self.attention_name: getattr(self, self.attention_name)})
        yield from after_norm(second, self.fed())

    def fed(self) -> dict[str, nn.Module]:
        """What `feed` gives its input to, by name."""
        return {self.mlp_name: getattr(self, self.mlp_name)}

    def normed(self, x: torch.Tensor, norm: str | None) -> torch.Tensor:
        """x (Tensor): [b, s, d] after the norm of a name, or as it is -> the same"""
        return x if norm is None else getattr(self, norm)(x)
