"""FSMT (Ng et al. 2019, fairseq's WMT19): BART's blocks between two vocabularies.

Reference: transformers `modeling_fsmt.py`; names of modules and parameters are the same, but for
the head, which stands in the decoder there. Its decoder sees later tokens while it has a cache and
more than one new token; here never.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.rules import Rename
from tfcli.models.text.bart import BartModel
from tfcli.models.text.m2m_100 import FairseqPositions, M2M100Model


class FSMTModel(M2M100Model):
    """An encoder and a decoder, each with its table."""

    norm_first: ClassVar[bool] = False
    tokens = "encoder.embed_tokens"
    shares: ClassVar[dict[str, str]] = {
        "decoder.embed_tokens.weight": "encoder.embed_tokens.weight",
    }
    ignorable = BartModel.ignorable
    rules = (Rename(r"^lm_head\.", "model.decoder.output_projection."),)

    def add_table(self) -> None:
        """There is no table beside those of the stacks."""

    @classmethod
    def make_positions(cls, config: Seq2SeqConfig) -> nn.Module:
        assert config.pad_token_id is not None
        positions, size = config.max_position_embeddings, config.hidden_size
        return FairseqPositions(positions, size, config.pad_token_id, stored=True)
