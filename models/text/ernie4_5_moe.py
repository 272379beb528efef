"""ERNIE 4.5 (Baidu 2025) with experts: a bias balances their load, shared ones stand beside them.

Reference: transformers `modeling_ernie4_5_moe.py`; for the names of modules see `sparse`. The
layers that predict further tokens, which some checkpoints hold, are not built.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.ernie4_5_moe import Ernie45MoeConfig
from tfcli.models.layers.routing import GroupedRouter
from tfcli.models.rules import Rename
from tfcli.models.text.sparse import ATTENTION, DENSE, EXPERTS, SHARED, BalancedModel


class ErnieRouter(GroupedRouter):
    """A softmax router with a bias that balances the load, stored as [1, experts].

    Args:
        sizes: see `GroupedRouter`.
        least: what the chosen scores are divided by at least, when they are made to sum to 1.
    """

    def __init__(self, *sizes: int, least: float) -> None:
        super().__init__(*sizes, normalize=True, softmax=True)
        bias = torch.zeros(1, self.weight.shape[0], dtype=torch.float32)
        self.register_buffer("e_score_correction_bias", bias)
        self.least = least

    def normalized(self, weights: torch.Tensor) -> torch.Tensor:
        """See `GroupedRouter.normalized`."""
        return weights / weights.sum(-1, keepdim=True).clamp(min=self.least)


class Ernie45MoeModel(BalancedModel):
    """Llama's body, with interleaved rotary positions, with mixtures in some layers or all."""

    config: Ernie45MoeConfig
    interleaved = True

    ignorable: ClassVar[dict[str, str]] = {
        **BalancedModel.ignorable,
        r"mtp": "part of a layer that predicts a further token",
    }
    rules = (Rename(r"\.mlp\.gate\.e_score", ".mlp.moe_statics.e_score"),)
    walk = CalibrationWalk(
        blocks="layers", groups=(*ATTENTION, *EXPERTS, *SHARED, *DENSE), varies=True
    )

    def make_router(self) -> nn.Module:
        """See `SparseModel.make_router`."""
        config = self.config
        return ErnieRouter(
            config.hidden_size,
            config.num_experts,
            config.num_experts_per_tok,
            least=config.moe_norm_min,
        )

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """The bias that balances the load starts at 0."""
        return torch.zeros(shape) if name.endswith(".e_score_correction_bias") else None

    def head_bias(self) -> bool:
        """See `Backbone.head_bias`."""
        return self.config.use_bias
