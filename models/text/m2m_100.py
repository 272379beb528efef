"""M2M-100 (Fan et al. 2020) and NLLB: BART with the norms first, and fairseq's positions.

Reference: transformers `modeling_m2m_100.py`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.configs.m2m_100 import M2M100Config
from tfcli.models.context import Context
from tfcli.models.layers.sinusoidal import SinusoidalPositions, fairseq_sines
from tfcli.models.text.bart import BartModel


class FairseqPositions(SinusoidalPositions):
    """Computed positions that begin after the row of the padding token, which is 0.

    Args:
        positions: how many there are.
        size: d.
        padding: id of the padding token.
        stored: whether checkpoints that are written hold the table.
    """

    def __init__(self, positions: int, size: int, padding: int, *, stored: bool = False) -> None:
        super().__init__(positions + padding + 1, size, stored=stored)
        self.padding = padding

    def table(self) -> torch.Tensor:
        return fairseq_sines(self.weight.shape[0], self.weight.shape[1], self.padding)


class M2M100Model(BartModel):
    """See the file's head."""

    config: M2M100Config

    logits_bias = False
    norm_first = True
    norms_embeddings = False
    ignorable: ClassVar[dict[str, str]] = BartModel.ignorable | {
        r"(^|\.)embed_positions\.weights?$": "computed from the config",
    }

    @classmethod
    def make_positions(cls, config: Seq2SeqConfig) -> nn.Module:
        assert config.pad_token_id is not None
        size = config.hidden_size
        return FairseqPositions(config.max_position_embeddings, size, config.pad_token_id)

    @classmethod
    def places(
        cls, input_ids: torch.Tensor | None, context: Context, padding: int | None
    ) -> torch.Tensor:
        """Tokens are counted, padding is not: it has a row of its own, mask or not."""
        assert padding is not None
        if input_ids is None:
            return context.positions + padding + 1
        real = input_ids != padding
        return (real.cumsum(-1) + context.positions[:, :1]) * real + padding
