"""What decoders with a mixture of experts share: Llama's body with experts in place of the mlp.

Modules are named as in checkpoints, which transformers 5 still writes so: it fuses experts in
memory only.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.configs.experts import BalancedConfig, ExpertsConfig, GroupedConfig
from tfcli.models.context import Context
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.moe import MixtureOfExperts
from tfcli.models.layers.routing import GroupedRouter, SoftmaxRouter, load_balance
from tfcli.models.text.llama import LlamaModel

ATTENTION = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
)
"""The linears of attention, for calibration."""
EXPERTS = (
    ("mlp.experts.*.gate_proj", "mlp.experts.*.up_proj"),
    ("mlp.experts.*.down_proj",),
)
"""Those of the experts."""
SHARED = (
    ("mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj"),
    ("mlp.shared_experts.down_proj",),
)
"""Those of what all tokens go through beside their experts."""
DENSE = (("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))
"""Those of an mlp, in layers without experts."""


class SparseModel(LlamaModel):
    """Llama's body; the config is an `ExpertsConfig`. Families override what makes the parts.

    Class attributes:
        mixture: what checkpoints call the mixture in a block.
    """

    config: ExpertsConfig
    prefixes: ClassVar[dict[str, str]] = {}
    mixture: ClassVar[str] = "mlp"

    def make_router(self) -> nn.Module:
        """What chooses the experts."""
        config = self.config
        return SoftmaxRouter(
            config.hidden_size,
            config.num_experts,
            config.num_experts_per_tok,
            normalize=config.norm_topk_prob,
        )

    def make_expert(self) -> nn.Module:
        """One expert."""
        config = self.config
        return GatedMLP(config.hidden_size, config.expert_size, config.hidden_act, bias=False)

    def make_mixture(self) -> nn.Module:
        """What takes the place of the mlp in a layer with experts."""
        experts = (self.make_expert() for _ in range(self.config.num_experts))
        return MixtureOfExperts(self.make_router(), experts, shared=self.make_shared())

    def make_shared(self) -> nn.Module | None:
        """What all tokens go through beside their experts: one mlp as wide as all of these."""
        config = self.config
        if config.shared_size == 0:
            return None
        return GatedMLP(config.hidden_size, config.shared_size, config.hidden_act, config.mlp_bias)

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        return self.make_mixture() if self.config.sparse(layer) else super().make_mlp(layer)

    def block_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.block_options`."""
        options = super().block_options(layer)
        return {**options, "mlp_name": self.mixture} if self.config.sparse(layer) else options


class GroupedModel(SparseModel):
    """The same where the config is a `GroupedConfig`: DeepSeek-V3's routers."""

    config: GroupedConfig

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

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """The bias that balances the load starts at 0."""
        return torch.zeros(shape) if name.endswith(".e_score_correction_bias") else None


class BalancedModel(SparseModel):
    """The same where the config is a `BalancedConfig`: its loss can balance the experts."""

    config: BalancedConfig

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        config = self.config
        if config.output_router_logits:
            context.router_logits = []
        x = super().forward(x, context)
        if context.router_logits:
            routed = context.router_logits
            balance = load_balance(routed, config.num_experts_per_tok, context.padding)
            context.aux_loss = config.router_aux_loss_coef * balance
        return x
