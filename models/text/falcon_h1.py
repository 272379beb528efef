"""Falcon-H1 (TII 2025): attention and a state space side by side in every layer.

Reference: transformers `modeling_falcon_h1.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.falcon_h1 import FalconH1Config
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.norms import GatedRMSNorm
from tfcli.models.text.sparse import ATTENTION
from tfcli.models.text.state_space_layers import StateSpaceLayersModel


class ScaledMLP(GatedMLP):
    """A gated mlp with a factor before the activation and one on the output.

    Args:
        sizes: and the other arguments of `GatedMLP`.
        factors: these two.
    """

    def __init__(self, *sizes: Any, factors: list[float]) -> None:
        super().__init__(*sizes)
        self.factors = factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        inner, outer = self.factors
        gate, up, down = (getattr(self, name) for name in self.names)
        return down(self.act(gate(x) * inner) * up(x)) * outer


class FalconH1Block(nn.Module):
    """x + state space(norm(x)) + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        mamba: [b, s, d] and the context -> [b, s, d]
        attention: the same.
        mlp: [b, s, d] -> [b, s, d]
        input_norm: before the first two.
        mlp_norm: before the mlp.
        mamba_factors: on the state space's input and output.
        attention_factors: on the attention's.
    """

    def __init__(
        self,
        mamba: nn.Module,
        attention: nn.Module,
        mlp: nn.Module,
        input_norm: nn.Module,
        mlp_norm: nn.Module,
        *,
        mamba_factors: tuple[float, float],
        attention_factors: tuple[float, float],
    ) -> None:
        super().__init__()
        self.mamba = mamba
        self.self_attn = attention
        self.feed_forward = mlp
        self.input_layernorm = input_norm
        self.pre_ff_layernorm = mlp_norm
        self.mamba_factors, self.attention_factors = mamba_factors, attention_factors

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        normed = self.input_layernorm(x)
        inner, outer = self.mamba_factors
        carried = self.mamba(normed * inner, context) * outer
        inner, outer = self.attention_factors
        x = x + (carried + self.self_attn(normed * inner, context) * outer)
        return x + self.feed_forward(self.pre_ff_layernorm(x))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        both = {"mamba": self.mamba, "self_attn": self.self_attn}
        yield from after_norm("input_layernorm", both)
        yield from after_norm("pre_ff_layernorm", {"feed_forward": self.feed_forward})


class FalconH1Model(StateSpaceLayersModel):
    """Llama's body with Falcon-H1's block and factors."""

    config: FalconH1Config

    prefixes: ClassVar[dict[str, str]] = {}
    final_norm = "final_layernorm"
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("mamba.in_proj",),
            ("mamba.out_proj",),
            *ATTENTION,
            ("feed_forward.gate_proj", "feed_forward.up_proj"),
            ("feed_forward.down_proj",),
        ),
    )

    def embed(self, **inputs: Any) -> torch.Tensor:
        """Rows of the table times a factor. Embeddings of the caller are taken as they are."""
        x = super().embed(**inputs)
        given = inputs.get("inputs_embeds") is not None
        return x if given else x * self.config.embedding_multiplier

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`. A factor on keys is one on the scores."""
        config = self.config
        scale = config.head_dim**-0.5 * config.key_multiplier
        return {"bias": config.attention_bias, "scale": scale}

    def state_space_options(self) -> dict[str, Any]:
        """See `StateSpaceLayersModel.state_space_options`."""
        config = self.config
        norm = GatedRMSNorm(
            config.mamba_inner,
            config.rms_norm_eps,
            groups=config.mamba_n_groups,
            gate_first=not config.mamba_norm_before_gate,
        )
        return {
            "norm": norm if config.mamba_rms_norm else None,
            "out_bias": config.projectors_bias,
            "scales": config.ssm_multipliers,
        }

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        sizes = (config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias)
        return ScaledMLP(*sizes, factors=config.mlp_multipliers or [1.0, 1.0])

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        config = self.config
        return FalconH1Block(
            self.make_state_space(layer),
            self.make_attention(layer),
            self.make_mlp(layer),
            self.make_norm(),
            self.make_norm(),
            mamba_factors=(config.ssm_in_multiplier, config.ssm_out_multiplier),
            attention_factors=(config.attention_in_multiplier, config.attention_out_multiplier),
        )

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """See `Backbone.adjust_logits`."""
        return logits * self.config.lm_head_multiplier
