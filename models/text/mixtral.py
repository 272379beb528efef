"""Mixtral (Jiang et al. 2024): Mistral with a mixture of experts in every layer.

Reference: transformers `modeling_mixtral.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.mixtral import MixtralConfig
from tfcli.models.folding import Fold
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.moe import MixtureOfExperts
from tfcli.models.layers.routing import SoftmaxRouter
from tfcli.models.rules import OldName
from tfcli.models.text.sparse import ATTENTION, BalancedModel


class MixtralExpert(nn.Module):
    """w2(act(w1(x)) * w3(x)): a gated mlp under Mixtral's names.

    Args:
        hidden_size: d.
        intermediate_size: width in between.
        act: name of the activation.
    """

    divides = True  # as a `GatedMLP` does
    reads = ("w1", "w3")  # see `folding`

    def __init__(self, hidden_size: int, intermediate_size: int, act: str) -> None:
        super().__init__()
        self.w1 = linear(hidden_size, intermediate_size, bias=False)
        self.w3 = linear(hidden_size, intermediate_size, bias=False)
        self.w2 = linear(intermediate_size, hidden_size, bias=False)
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [n, d] -> [n, d]"""
        return self.w2(self.act(self.w1(x)) * self.w3(x))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield Fold("w3", ("w2",))


class MixtralModel(BalancedModel):
    """Llama's body with Mixtral's mixtures."""

    config: MixtralConfig

    mixture = "block_sparse_moe"
    rules = (OldName(r"\.mlp\.(?=gate\.|experts\.)", ".block_sparse_moe."),)  # transformers 5's
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            *ATTENTION,
            ("block_sparse_moe.experts.*.w1", "block_sparse_moe.experts.*.w3"),
            ("block_sparse_moe.experts.*.w2",),
        ),
    )

    def make_mixture(self) -> nn.Module:
        """See `SparseModel.make_mixture`."""
        config = self.config
        size, width = config.hidden_size, config.intermediate_size
        return MixtureOfExperts(
            SoftmaxRouter(size, config.num_experts, config.num_experts_per_tok, normalize=True),
            (MixtralExpert(size, width, config.hidden_act) for _ in range(config.num_experts)),
            jitter=config.router_jitter_noise,
        )
