"""PEGASUS (Zhang et al. 2020): BART with the norms first, and computed positions.

Reference: transformers `modeling_pegasus.py`.
"""

from __future__ import annotations

from torch import nn

from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.configs.pegasus import PegasusConfig
from tfcli.models.layers.sinusoidal import SinusoidalPositions
from tfcli.models.text.bart import BartModel


class PegasusModel(BartModel):
    """See the file's head."""

    config: PegasusConfig

    norm_first = True
    norms_embeddings = False

    @classmethod
    def make_positions(cls, config: Seq2SeqConfig) -> nn.Module:
        return SinusoidalPositions(config.max_position_embeddings, config.hidden_size)
