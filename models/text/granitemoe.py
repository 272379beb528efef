"""Granite 3 (IBM 2024) with experts, of which some have an mlp for all tokens beside them.

Reference: transformers `modeling_granitemoe.py` and `modeling_granitemoeshared.py`. Checkpoints
keep the weights of a layer's experts as one stack; here each expert has linears of its own over
views of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.granitemoe import GraniteMoeConfig, GraniteMoeSharedConfig
from tfcli.models.context import Context
from tfcli.models.layers.mlp import FusedGatedMLP
from tfcli.models.rules import Rename, Stack
from tfcli.models.text.granite import GraniteModel
from tfcli.models.text.sparse import ATTENTION, BalancedModel


class SharedBlock(DecoderBlock):
    """A block with an mlp for all tokens beside its mixture.

    Args:
        shared: [b, s, d] -> [b, s, d]

    The others are those of `DecoderBlock`.
    """

    def __init__(self, *parts: Any, shared: nn.Module, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.shared_mlp = shared

    def feed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """See `DecoderBlock.feed`."""
        return super().feed(x, context) + self.shared_mlp(x)

    def fed(self) -> dict[str, nn.Module]:
        """See `DecoderBlock.fed`."""
        return {**super().fed(), "shared_mlp": self.shared_mlp}


class GraniteMoeModel(BalancedModel, GraniteModel):
    """Granite's body with mixtures in place of its mlps."""

    config: GraniteMoeConfig

    mixture = "block_sparse_moe"
    rules = (
        Rename(r"\.block_sparse_moe\.gate\.", ".block_sparse_moe.router.layer."),
        Stack(r"\.experts\.(?P<index>\d+)\.gate_up_proj\.weight$", ".input_linear.weight"),
        Stack(r"\.experts\.(?P<index>\d+)\.down_proj\.weight$", ".output_linear.weight"),
    )
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            *ATTENTION,
            ("block_sparse_moe.experts.*.gate_up_proj",),
            ("block_sparse_moe.experts.*.down_proj",),
            ("shared_mlp.input_linear",),
            ("shared_mlp.output_linear",),
        ),
        varies=True,
    )

    def make_expert(self) -> nn.Module:
        """See `SparseModel.make_expert`."""
        config = self.config
        return FusedGatedMLP(config.hidden_size, config.expert_size, config.hidden_act, bias=False)


class GraniteMoeSharedModel(GraniteMoeModel):
    """The same with an mlp for all tokens in every block, or in none."""

    config: GraniteMoeSharedConfig

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        config = self.config
        width = config.shared_intermediate_size
        if width == 0:
            return super().make_block(layer)
        names = ("input_linear", "output_linear")
        return SharedBlock(
            self.make_attention(layer),
            self.make_mlp(layer),
            self.make_norm,
            shared=FusedGatedMLP(
                config.hidden_size, width, config.hidden_act, bias=False, names=names
            ),
            **self.block_options(layer),
        )
