"""Qwen3-Next (Qwen team 2025): gated delta networks, gated attention in every fourth layer.

Reference: transformers `modeling_qwen3_next.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.qwen3_next import DeltaConfig, Qwen3NextConfig
from tfcli.models.configs.windows import FULL
from tfcli.models.layers.attention import GatedRotaryAttention, RotaryAttention
from tfcli.models.layers.delta_net import FusedGatedDeltaNet, GatedDeltaNet
from tfcli.models.layers.norms import OffsetRMSNorm
from tfcli.models.text.llama import LlamaModel
from tfcli.models.text.qwen2_moe import SharedModel


class DeltaModel(LlamaModel):
    """Llama's body with gated delta networks in most layers, and gated attention in the others.

    Class attributes:
        delta_class: of the layers that do not attend.
    """

    config: DeltaConfig

    prefixes: ClassVar[dict[str, str]] = {"question-answering": "transformer"}
    packs = False  # the state runs through the whole row
    attention_class: ClassVar[type[RotaryAttention]] = GatedRotaryAttention
    delta_class: ClassVar[type[GatedDeltaNet]] = GatedDeltaNet
    ignorable: ClassVar[dict[str, str]] = {
        **LlamaModel.ignorable,
        r"^mtp\.": "predicts further tokens, which is not built",
    }

    def make_norm(self) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return OffsetRMSNorm(self.config.hidden_size, self.config.rms_norm_eps)

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config = self.config
        return {
            "bias": config.attention_bias,
            "q_norm": OffsetRMSNorm(config.head_dim, config.rms_norm_eps),
            "k_norm": OffsetRMSNorm(config.head_dim, config.rms_norm_eps),
        }

    def make_delta(self, layer: int) -> nn.Module:
        """What takes the place of attention in most layers."""
        config = self.config
        return self.delta_class(
            config.hidden_size,
            config.linear_num_key_heads,
            config.linear_num_value_heads,
            config.linear_key_head_dim,
            config.linear_value_head_dim,
            kernel=config.linear_conv_kernel_dim,
            act=config.hidden_act,
            eps=config.rms_norm_eps,
            layer=layer,
        )

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        attends = self.config.kind(layer) == FULL
        return DecoderBlock(
            self.make_attention(layer) if attends else self.make_delta(layer),
            self.make_mlp(layer),
            self.make_norm,
            attention_name="self_attn" if attends else "linear_attn",
        )

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """Norms of 1 + weight begin at 0; the steps of the delta networks are alike."""
        if name.endswith("dt_bias"):
            return torch.ones(shape)
        if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
            return torch.zeros(shape)
        return None

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        """Decays of up to 16, on a plain scale."""
        if name.endswith("A_log"):
            return torch.empty(shape).uniform_(0.01, 16, generator=random).log()
        return None


class Qwen3NextModel(DeltaModel, SharedModel):
    """The body with Qwen2-MoE's mixtures in some layers or all."""

    config: Qwen3NextConfig

    delta_class = FusedGatedDeltaNet
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("linear_attn.in_proj_qkvz",),
            ("linear_attn.out_proj",),
            *SharedModel.walk.groups,
        ),
        varies=True,
    )
