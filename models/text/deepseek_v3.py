"""DeepSeek-V3 (DeepSeek-AI 2024): latent attention, group-limited routing, shared experts.

Reference: transformers `modeling_deepseek_v3.py`; for the names of modules see `sparse`. The layers
that predict further tokens, which some checkpoints hold, are not built.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.deepseek_v3 import DeepseekV3Config
from tfcli.models.context import Context
from tfcli.models.layers.latent_attention import LatentAttention
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.moe import MixtureOfExperts
from tfcli.models.layers.rotary import Rotary
from tfcli.models.layers.routing import GroupedRouter
from tfcli.models.text.sparse import DENSE, EXPERTS, SparseModel


class SharedMixture(MixtureOfExperts):
    """A mixture, and experts for all tokens, which are one wide mlp.

    Args:
        router: see `MixtureOfExperts`.
        experts: the same.
        shared: [b, s, d] -> [b, s, d]
    """

    def __init__(self, router: nn.Module, experts: Iterable[nn.Module], shared: nn.Module) -> None:
        super().__init__(router, experts)
        self.shared_experts = shared

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return super().forward(x, context) + self.shared_experts(x)


class DeepseekV3Model(SparseModel):
    """Llama's body with latent attention, and mixtures after the first layers."""

    config: DeepseekV3Config

    ignorable: ClassVar[dict[str, str]] = {
        **SparseModel.ignorable,
        # transformers skips the same number: both know V3's depth only.
        r"^(model\.)?layers\.61\.": "part of a layer that predicts a further token",
    }
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.q_proj", "self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa"),
            ("self_attn.q_b_proj",),
            ("self_attn.kv_b_proj",),
            ("self_attn.o_proj",),
            *EXPERTS,
            ("mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj"),
            ("mlp.shared_experts.down_proj",),
            *DENSE,
        ),
        varies=True,
    )

    def make_rotary(self) -> Rotary:
        """See `LlamaModel.make_rotary`."""
        config = self.config
        return Rotary(
            config.rope_parameters,
            config.qk_rope_head_dim,
            config.max_position_embeddings,
            neighbours=config.rope_interleave,
        )

    def make_attention(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_attention`."""
        config = self.config
        return LatentAttention(
            config.hidden_size,
            config.num_attention_heads,
            query_rank=config.q_lora_rank,
            rank=config.kv_lora_rank,
            plain_dim=config.qk_nope_head_dim,
            turned_dim=config.qk_rope_head_dim,
            value_dim=config.v_head_dim,
            layer=layer,
            rotary=self.rotary,
            backend=self.attention,
            scale=config.attention_scale,
            bias=config.attention_bias,
            dropout=config.attention_dropout,
        )

    def make_router(self) -> nn.Module:
        """See `SparseModel.make_router`."""
        config = self.config
        return GroupedRouter(
            config.hidden_size,
            config.num_experts,
            config.num_experts_per_tok,
            groups=config.n_group,
            kept_groups=config.topk_group,
            normalize=config.norm_topk_prob,
            scale=config.routed_scaling_factor,
        )

    def make_mixture(self) -> nn.Module:
        """See `SparseModel.make_mixture`."""
        config = self.config
        width = config.n_shared_experts * config.expert_size
        return SharedMixture(
            self.make_router(),
            (self.make_expert() for _ in range(config.num_experts)),
            GatedMLP(config.hidden_size, width, config.hidden_act, bias=False),
        )

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """The bias that balances the load starts at 0."""
        return torch.zeros(shape) if name.endswith(".e_score_correction_bias") else None
