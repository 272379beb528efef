"""Granite 4 (IBM 2025): state spaces, attention in some layers, experts beside a dense mlp.

Reference: transformers `modeling_granitemoehybrid.py`. Checkpoints keep the weights of a layer's
experts as one stack, [experts, out, in]; here each expert has ordinary linears over views of it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.granitemoehybrid import GraniteMoeHybridConfig
from tfcli.models.configs.windows import FULL
from tfcli.models.context import Context
from tfcli.models.layers.mlp import FusedGatedMLP
from tfcli.models.layers.rotary import Rotary
from tfcli.models.rules import Rename, Stack
from tfcli.models.text.sparse import ATTENTION, BalancedModel
from tfcli.models.text.state_space_layers import StateSpaceLayersModel


class GraniteHybridBlock(DecoderBlock):
    """A block whose dense mlp has a mixture of experts beside it, or not.

    Args:
        parts: those of `DecoderBlock`.
        mixture: [b, s, d] and the context -> [b, s, d], or None.
        options: those of `DecoderBlock`.
    """

    def __init__(self, *parts: Any, mixture: nn.Module | None, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.block_sparse_moe = mixture

    def feed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """See `DecoderBlock.feed`."""
        mixed = None if self.block_sparse_moe is None else self.block_sparse_moe(x, context)
        dense = super().feed(x, context)
        return dense if mixed is None else mixed + dense

    def fed(self) -> dict[str, nn.Module]:
        """See `DecoderBlock.fed`."""
        mixture = self.block_sparse_moe
        return super().fed() | ({} if mixture is None else {"block_sparse_moe": mixture})


class GraniteMoeHybridModel(StateSpaceLayersModel, BalancedModel):
    """Llama's body with Granite's factors, and state spaces in place of most attention."""

    config: GraniteMoeHybridConfig

    prefixes: ClassVar[dict[str, str]] = {}
    rules = (
        Rename(r"\.block_sparse_moe\.gate\.", ".block_sparse_moe.router.layer."),
        Stack(r"\.experts\.(?P<index>\d+)\.(\w+)\.weight$", r".\2.weight"),
    )
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("mamba.in_proj",),
            ("mamba.out_proj",),
            *ATTENTION,
            ("block_sparse_moe.experts.*.input_linear",),
            ("block_sparse_moe.experts.*.output_linear",),
            ("shared_mlp.input_linear",),
            ("shared_mlp.output_linear",),
        ),
        varies=True,
    )

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config = self.config
        return {"bias": config.attention_bias, "scale": config.attention_multiplier}

    def rotary_of(self, layer: int) -> Rotary | None:
        """See `LlamaModel.rotary_of`."""
        return super().rotary_of(layer) if self.config.rotates else None

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        return self.fused(self.config.shared_intermediate_size)

    def make_expert(self) -> nn.Module:
        """See `SparseModel.make_expert`."""
        return self.fused(self.config.intermediate_size)

    def fused(self, size: int) -> nn.Module:
        """A gated mlp so wide, with Granite's names."""
        config, names = self.config, ("input_linear", "output_linear")
        return FusedGatedMLP(config.hidden_size, size, config.hidden_act, bias=False, names=names)

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        attends = self.config.kind(layer) == FULL
        return GraniteHybridBlock(
            self.make_attention(layer) if attends else self.make_state_space(layer),
            self.make_mlp(layer),
            self.make_norm,
            attention_name="self_attn" if attends else "mamba",
            mlp_name="shared_mlp",
            scale=self.config.residual_multiplier,
            mixture=self.make_mixture() if self.config.has_experts else None,
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings, which a factor scales -> [b, s, d]"""
        return super().forward(x * self.config.embedding_multiplier, context)

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """See `Backbone.adjust_logits`."""
        return logits / self.config.logits_scaling
