"""Mamba 2 (Dao and Gu 2024): state spaces with one decay a head, computed chunk by chunk.

Reference: transformers `modeling_mamba2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.mamba import Mamba2Config
from tfcli.models.layers.mamba import Mamba2Mixer
from tfcli.models.layers.norms import GatedRMSNorm
from tfcli.models.text.mamba import MambaModel


class Mamba2Model(MambaModel):
    """Mamba's embeddings, block and norm around another state space."""

    config: Mamba2Config

    walk = CalibrationWalk(blocks="layers", groups=(("mixer.in_proj",), ("mixer.out_proj",)))

    def make_mixer(self, layer: int) -> nn.Module:
        """See `MambaModel.make_mixer`."""
        config = self.config
        return Mamba2Mixer(
            config.hidden_size,
            config.num_heads,
            config.head_dim,
            groups=config.n_groups,
            states=config.state_size,
            kernel=config.conv_kernel,
            bias=config.use_bias,
            conv_bias=config.use_conv_bias,
            act=config.hidden_act,
            chunk=config.chunk_size,
            step_limit=config.time_step_limit,
            norm=GatedRMSNorm(
                config.intermediate_size, config.layer_norm_epsilon, groups=config.n_groups
            ),
            layer=layer,
        )
