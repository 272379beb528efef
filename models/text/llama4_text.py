"""Llama 4's text model (Meta 2025): attention in stretches, layers without positions, experts.

Reference: transformers `modeling_llama4.py`. Checkpoints keep the weights of a layer's experts as
one stack, [experts, in, out]; here each expert has ordinary linears over transposed views of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.llama4_text import Llama4TextConfig
from tfcli.models.context import Context
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.mlp import FusedGatedMLP, GatedMLP
from tfcli.models.layers.moe import MixtureOfExperts
from tfcli.models.layers.norms import UnitRMSNorm
from tfcli.models.layers.rotary import Rotary
from tfcli.models.layers.routing import SigmoidRouter
from tfcli.models.rules import Rename, Stack, Transpose
from tfcli.models.text.sparse import ATTENTION, SparseModel


class TunedAttention(RotaryAttention):
    """Attention that grows sharper with a query's position (Nakanishi 2025, "Scalable-Softmax").

    Queries are multiplied by 1 + strength * log(1 + floor((position + 1) / step)).

    Args:
        sizes: see `RotaryAttention`.
        strength: see above; None leaves queries as they are.
        step: see above.
        options: see `RotaryAttention`.
    """

    def __init__(self, *sizes: int, strength: float | None, step: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.strength, self.step = strength, step

    def turned(
        self, query: torch.Tensor, key: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `RotaryAttention.turned`."""
        query, key = super().turned(query, key, context)
        if self.strength is None:
            return query, key
        steps = ((context.positions.float() + 1) / self.step).floor()
        factor = 1 + self.strength * steps.log1p()
        return (query * factor[:, None, :, None]).to(query.dtype), key


class Llama4TextModel(SparseModel):
    """Llama's body with Llama 4's attention and mixtures."""

    config: Llama4TextConfig
    interleaved = True
    attention_class = TunedAttention

    rules = (
        Rename(r"\.feed_forward\.gate\.", ".feed_forward.router."),
        Stack(r"\.experts\.(?P<index>\d+)\.(gate_up_proj|down_proj)\.weight$", r".experts.\2"),
        Transpose(r"\.experts\.(gate_up_proj|down_proj)"),
    )
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            *ATTENTION,
            ("feed_forward.experts.*.gate_up_proj",),
            ("feed_forward.experts.*.down_proj",),
            ("feed_forward.shared_expert.gate_proj", "feed_forward.shared_expert.up_proj"),
            ("feed_forward.shared_expert.down_proj",),
            ("feed_forward.gate_proj", "feed_forward.up_proj"),
            ("feed_forward.down_proj",),
        ),
        varies=True,
    )

    def rotary_of(self, layer: int) -> Rotary | None:
        """See `LlamaModel.rotary_of`."""
        return super().rotary_of(layer) if self.config.rotates(layer) else None

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config, rotates = self.config, self.config.rotates(layer)
        tuned = config.attn_temperature_tuning and not rotates
        norm = UnitRMSNorm(config.rms_norm_eps) if config.use_qk_norm and rotates else None
        return {
            **super().attention_options(layer),
            "chunk": config.window(layer),
            "strength": config.attn_scale if tuned else None,
            "step": config.floor_scale,
            "q_norm": norm,
            "k_norm": norm,
            "norm_turned": True,
        }

    def make_expert(self) -> nn.Module:
        """See `SparseModel.make_expert`."""
        config = self.config
        return FusedGatedMLP(config.hidden_size, config.expert_size, config.hidden_act, bias=False)

    def make_mixture(self) -> nn.Module:
        """See `SparseModel.make_mixture`."""
        config = self.config
        return MixtureOfExperts(
            SigmoidRouter(config.hidden_size, config.num_experts, config.num_experts_per_tok),
            (self.make_expert() for _ in range(config.num_experts)),
            shared=self.make_shared(),
            shared_name="shared_expert",
            inside=True,
        )

    def block_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.block_options`."""
        return {**super().block_options(layer), "mlp_name": "feed_forward"}

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        if config.sparse(layer):
            return self.make_mixture()
        return GatedMLP(
            config.hidden_size, config.intermediate_size_mlp, config.hidden_act, bias=False
        )
