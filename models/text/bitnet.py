"""BitNet b1.58 (Ma et al. 2025): norms before the last linear of attention and of the mlp.

Reference: transformers `modeling_bitnet.py`; names of modules and parameters are the same. Linears
are ordinary ones: weights that are packed as -1, 0 and 1, or made so in each forward pass, are not
built.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from tfcli.models.configs.bitnet import BitNetConfig
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.text.llama import LlamaModel


class BitNetModel(LlamaModel):
    """Llama's body with two more norms a layer."""

    config: BitNetConfig

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {**super().attention_options(layer), "sub_norm": self.make_norm()}

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        return GatedMLP(
            config.hidden_size,
            config.intermediate_size,
            config.hidden_act,
            config.mlp_bias,
            sub_norm=RMSNorm(config.intermediate_size, config.rms_norm_eps),
        )
