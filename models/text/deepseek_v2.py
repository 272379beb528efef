"""DeepSeek-V2 (DeepSeek-AI 2024): latent attention, experts in groups, shared experts.

Reference: transformers `modeling_deepseek_v2.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from torch import nn

from tfcli.models.configs.deepseek_v2 import DeepseekV2Config
from tfcli.models.layers.routing import GroupedRouter
from tfcli.models.text.latent import LatentModel


class DeepseekV2Model(LatentModel):
    """Llama's body with latent attention, and mixtures after the first layers."""

    config: DeepseekV2Config

    def make_router(self) -> nn.Module:
        """See `SparseModel.make_router`."""
        config = self.config
        groups, kept = config.groups
        return GroupedRouter(
            config.hidden_size,
            config.num_experts,
            config.num_experts_per_tok,
            groups=groups,
            kept_groups=kept,
            normalize=False,
            scale=config.routed_scaling_factor,
            softmax=True,
            balanced=False,
            speakers=1,
        )
