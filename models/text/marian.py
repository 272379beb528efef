"""Marian (Junczys-Dowmunt et al. 2018): BART with computed positions, and maybe two vocabularies.

Reference: transformers `modeling_marian.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from tfcli.models.config import BaseConfig
from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.configs.marian import MarianConfig
from tfcli.models.layers.sinusoidal import SinusoidalPositions
from tfcli.models.text.bart import BartModel


class MarianModel(BartModel):
    """See the file's head."""

    config: MarianConfig

    norms_embeddings: ClassVar[bool] = False

    def add_table(self) -> None:
        if self.config.share_encoder_decoder_embeddings:
            super().add_table()

    @classmethod
    def make_positions(cls, config: Seq2SeqConfig) -> nn.Module:
        return SinusoidalPositions(config.max_position_embeddings, config.hidden_size)

    @classmethod
    def tied(cls, config: BaseConfig, ties: Mapping[str, str]) -> dict[str, str]:
        """With two vocabularies, only the head shares a table: the decoder's."""
        assert isinstance(config, MarianConfig)
        if config.share_encoder_decoder_embeddings or not config.tie_word_embeddings:
            return super().tied(config, ties)
        table = f"{cls.prefix}.decoder.embed_tokens.weight"
        return {name: table for name in ties if name.startswith("lm_head.")}
