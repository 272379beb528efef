"""Blenderbot (Roller et al. 2020): BART with the norms first, none of them on the embeddings.

Reference: transformers `modeling_blenderbot.py`.
"""

from __future__ import annotations

from torch import nn

from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.configs.blenderbot import BlenderbotConfig
from tfcli.models.text.bart import BartModel, LearnedPositions


class BlenderbotModel(BartModel):
    """See the file's head."""

    config: BlenderbotConfig

    norm_first = True
    norms_embeddings = False

    @classmethod
    def make_positions(cls, config: Seq2SeqConfig) -> nn.Module:
        return LearnedPositions(config.max_position_embeddings, config.hidden_size, offset=0)
