"""What decoders share that have Mamba 2's state spaces beside attention or in its place."""

from __future__ import annotations

from typing import Any

import torch

from tfcli.models.configs.hybrid import Mamba2LayersConfig
from tfcli.models.layers.mamba import Mamba2Mixer
from tfcli.models.layers.norms import GatedRMSNorm
from tfcli.models.text.llama import LlamaModel


class StateSpaceLayersModel(LlamaModel):
    """Llama's body; the config has the keys of a `Mamba2LayersConfig`."""

    config: Mamba2LayersConfig

    packs = False  # the state runs through the whole row

    def make_state_space(self, layer: int) -> Mamba2Mixer:
        """One layer's state space."""
        config = self.config
        options = {
            "norm": GatedRMSNorm(
                config.mamba_inner, config.rms_norm_eps, groups=config.mamba_n_groups
            )
        }
        return Mamba2Mixer(
            config.hidden_size,
            config.mamba_n_heads,
            int(config.mamba_d_head),
            groups=config.mamba_n_groups,
            states=config.mamba_d_state,
            kernel=config.mamba_d_conv,
            bias=config.mamba_proj_bias,
            conv_bias=config.mamba_conv_bias,
            act=config.hidden_act,
            chunk=config.mamba_chunk_size,
            step_limit=config.time_step_limit,
            layer=layer,
            **(options | self.state_space_options()),
        )

    def state_space_options(self) -> dict[str, Any]:
        """Further arguments of `Mamba2Mixer`, or others."""
        return {}

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """Decays of 1 to n for n heads, and steps that are alike."""
        if name.endswith("A_log"):
            return torch.arange(1, shape[0] + 1, dtype=torch.float32).log()
        if name.endswith(("mamba.D", "dt_bias")):
            return torch.ones(shape)
        return None
