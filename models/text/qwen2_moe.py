"""Qwen2-MoE (Qwen team 2024): experts that some tokens go to beside one that all go to.

Reference: transformers `modeling_qwen2_moe.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.experts import SharedConfig
from tfcli.models.configs.qwen2_moe import Qwen2MoeConfig
from tfcli.models.context import Context
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.moe import MixtureOfExperts
from tfcli.models.layers.routing import Gate
from tfcli.models.text.sparse import ATTENTION, DENSE, EXPERTS, BalancedModel


class SharedMixture(MixtureOfExperts):
    """A mixture, and one more expert for all tokens, which a gate scales.

    Args:
        router: see `MixtureOfExperts`.
        experts: the same.
        shared: [b, s, d] -> [b, s, d]
        hidden_size: d.
    """

    def __init__(
        self, router: nn.Module, experts: Iterable[nn.Module], shared: nn.Module, hidden_size: int
    ) -> None:
        super().__init__(router, experts)
        self.shared_expert = shared
        self.shared_expert_gate = Gate(hidden_size, 1)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        mixed = super().forward(x, context)
        return mixed + self.shared_expert_gate.scores(x).sigmoid() * self.shared_expert(x)

    @property
    def reads(self) -> tuple[str, ...] | None:
        """See `folding`."""
        inner = getattr(self.shared_expert, "reads", None)
        mixture = super().reads
        if inner is None or mixture is None:
            return None
        shared = (f"shared_expert.{name}" for name in inner)
        return (*mixture, "shared_expert_gate", *shared)


class SharedModel(BalancedModel):
    """Llama's body with such mixtures; the config is a `SharedConfig`."""

    config: SharedConfig

    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            *ATTENTION,
            *EXPERTS,
            ("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"),
            ("mlp.shared_expert.down_proj",),
            *DENSE,
        ),
        varies=True,
    )

    def make_mixture(self) -> nn.Module:
        """See `SparseModel.make_mixture`."""
        config = self.config
        size, width = config.hidden_size, config.shared_expert_intermediate_size
        return SharedMixture(
            self.make_router(),
            (self.make_expert() for _ in range(config.num_experts)),
            GatedMLP(size, width, config.hidden_act, bias=False),
            size,
        )


class Qwen2MoeModel(SharedModel):
    """The body with Qwen2's biases, and mixtures in some layers or all."""

    config: Qwen2MoeConfig

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {"bias": self.config.qkv_bias, "out_bias": False}
