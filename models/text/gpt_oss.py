"""gpt-oss (OpenAI 2025): attention sinks, every other layer with a window, clamped experts.

Reference: transformers `modeling_gpt_oss.py`. Checkpoints keep the weights of a layer's experts as
one stack, [experts, in, out]; here each expert has ordinary linears over transposed views of it, so
that nothing is copied and quantization treats them as any other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.gpt_oss import GptOssConfig
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import RMSNormRoundedLast
from tfcli.models.layers.routing import SoftmaxRouter
from tfcli.models.rules import Rename, Stack, Transpose
from tfcli.models.text.sparse import ATTENTION, BalancedModel


class ClampedExpert(nn.Module):
    """down((up + 1) * gate * sigmoid(alpha * gate)), with gate and up clamped.

    Gate and up come from one linear and take turns in its outputs.

    Args:
        hidden_size: d.
        intermediate_size: width in between.
        alpha: see above.
        limit: gate is at most this, up between minus this and this.
    """

    def __init__(
        self, hidden_size: int, intermediate_size: int, alpha: float, limit: float
    ) -> None:
        super().__init__()
        self.gate_up_proj = linear(hidden_size, 2 * intermediate_size, bias=True)
        self.down_proj = linear(intermediate_size, hidden_size, bias=True)
        self.alpha, self.limit = alpha, limit

    reads = ("gate_up_proj",)  # see `folding`

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [n, d] -> [n, d]"""
        gate, up = self.gate_up_proj(x).unflatten(-1, (-1, 2)).unbind(-1)
        gate, up = gate.clamp(max=self.limit), up.clamp(-self.limit, self.limit)
        return self.down_proj((up + 1) * gate * torch.sigmoid(self.alpha * gate))


class GptOssModel(BalancedModel):
    """Llama's body with sinks and gpt-oss's mixtures."""

    config: GptOssConfig

    rules = (
        Rename(r"\.mlp\.gate\.", ".mlp.router."),
        Stack(r"\.(?P<index>\d+)\.(gate_up_proj|down_proj)\.weight$", r".\2"),
        Stack(r"\.(?P<index>\d+)\.(gate_up_proj|down_proj)\.bias$", r".\2_bias"),
        Transpose(r"\.experts\.(gate_up_proj|down_proj)"),
    )
    walk = CalibrationWalk(
        blocks="layers",
        groups=(*ATTENTION, ("mlp.experts.*.gate_up_proj",), ("mlp.experts.*.down_proj",)),
    )

    norm_class = RMSNormRoundedLast

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {"bias": self.config.attention_bias, "sinks": True}

    def make_router(self) -> nn.Module:
        """See `SparseModel.make_router`."""
        config = self.config
        return SoftmaxRouter(
            config.hidden_size,
            config.num_experts,
            config.num_experts_per_tok,
            normalize=True,
            bias=True,
        )

    def make_expert(self) -> nn.Module:
        """See `SparseModel.make_expert`."""
        config = self.config
        return ClampedExpert(
            config.hidden_size,
            config.intermediate_size,
            config.swiglu_alpha,
            config.swiglu_limit,
        )

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        """Sinks are drawn as matrices are."""
        if not name.endswith(".sinks"):
            return None
        return torch.empty(shape).normal_(0.0, self.init_std(name), generator=random)
