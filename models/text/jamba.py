"""Jamba (AI21 2024): Mamba's state spaces, attention in one layer of eight, experts in every other.

Reference: transformers `modeling_jamba.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.jamba import JambaConfig
from tfcli.models.layers.mamba import MambaMixer
from tfcli.models.rules import Rename
from tfcli.models.text.sparse import ATTENTION, BalancedModel


class JambaModel(BalancedModel):
    """Llama's body without positions, and with state spaces in place of most attention."""

    config: JambaConfig

    prefixes: ClassVar[dict[str, str]] = {}
    packs = False  # the state runs through the whole row
    final_norm = "final_layernorm"
    rules = (Rename(r"\.feed_forward\.gate\.", ".feed_forward.router."),)
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("mamba.in_proj",),
            ("mamba.x_proj",),
            ("mamba.dt_proj",),
            ("mamba.out_proj",),
            *ATTENTION,
            ("feed_forward.experts.*.gate_proj", "feed_forward.experts.*.up_proj"),
            ("feed_forward.experts.*.down_proj",),
            ("feed_forward.gate_proj", "feed_forward.up_proj"),
            ("feed_forward.down_proj",),
        ),
        varies=True,
    )

    def make_rotary(self) -> None:
        """See `LlamaModel.make_rotary`. The state spaces know the order of tokens."""

    def make_state_space(self, layer: int) -> nn.Module:
        """What takes the place of attention in most layers."""
        config = self.config
        return MambaMixer(
            config.hidden_size,
            config.mamba_expand * config.hidden_size,
            int(config.mamba_dt_rank),
            config.mamba_d_state,
            kernel=config.mamba_d_conv,
            bias=config.mamba_proj_bias,
            conv_bias=config.mamba_conv_bias,
            act=config.hidden_act,
            layer=layer,
            eps=config.rms_norm_eps,
        )

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        attends = self.config.attends(layer)
        return DecoderBlock(
            self.make_attention(layer) if attends else self.make_state_space(layer),
            self.make_mlp(layer),
            self.make_norm,
            norms=("input_layernorm", None, "pre_ff_layernorm", None),
            attention_name="self_attn" if attends else "mamba",
            mlp_name="feed_forward",
        )

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """Decays of 1 to n: the states of a new state space remember for unlike times."""
        if name.endswith("A_log"):
            return torch.arange(1, shape[-1] + 1, dtype=torch.float32).log().expand(shape).clone()
        return torch.ones(shape) if name.endswith("mamba.D") else None
