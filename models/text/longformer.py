"""Longformer (Beltagy et al. 2020): RoBERTa whose tokens see their neighbourhood and chosen tokens.

Reference: transformers `modeling_longformer.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from tfcli.models.blocks.encoder import EncoderBlock
from tfcli.models.configs.longformer import LongformerConfig, radius_of
from tfcli.models.errors import ModelError
from tfcli.models.heads.multiple_choice import MultipleChoice
from tfcli.models.heads.question_answering import QuestionAnswering
from tfcli.models.layers.local_global import INPUT, LocalGlobalAttention
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.text.bert import BertEncoder
from tfcli.models.text.roberta import RobertaClassification, RobertaModel


class LongformerModel(RobertaModel):
    """Embeddings, blocks, and a pooler for multiple choice.

    Input `global_attention_mask` [b, s]: 1 for a token that sees all and that all see; none by
    default. Linears that only these use may never run, so they cannot be calibrated.
    """

    config: LongformerConfig

    prefix = "longformer"
    inputs: ClassVar[tuple[str, ...]] = ("token_type_ids", INPUT)
    walk = None

    def make_encoder(self) -> BertEncoder:
        config = self.config
        encoder = BertEncoder(config, self.attention)
        for layer, block in enumerate(encoder.layer):
            assert isinstance(block, EncoderBlock)
            block.attention.self = LocalGlobalAttention(
                config.hidden_size,
                config.num_attention_heads,
                radius_of(config.attention_window, layer),
                config.attention_probs_dropout_prob,
                self.attention,
            )
        return encoder

    def block_lists(self) -> tuple[str, ...]:
        return ("encoder.layer",)


class Choosing(Model):
    """A head that chooses tokens where `global_attention_mask` is not given."""

    def run(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ModelOutput]:
        if inputs.get(INPUT) is None:
            inputs = {**inputs, INPUT: self.chosen(inputs)}
        return super().run(inputs)

    def chosen(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The mask, [b, s]."""
        raise TypeError(f"{type(self).__name__} chooses no tokens")

    def question_end(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The place of each row's first separator: [b, 1]

        Raises:
            ModelError: a row has none, or the ids are not known.
        """
        assert isinstance(self.config, LongformerConfig)
        ids, separator = inputs.get("input_ids"), self.config.sep_token_id
        if ids is None or separator is None or not bool((ids == separator).any(-1).all()):
            raise ModelError(
                "the end of the question is not known",
                where=INPUT,
                fix="give global_attention_mask, or input_ids with sep_token_id after a question",
            )
        return (ids == separator).long().argmax(-1, keepdim=True)


class LongformerClassification(Choosing, RobertaClassification):
    """RoBERTa's, which chooses the first token."""

    def chosen(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        given = inputs.get("input_ids")
        x = inputs["inputs_embeds"][..., 0] if given is None else given
        mask = inputs.get("attention_mask")
        real = torch.ones_like(x, dtype=torch.long) if mask is None else mask.long()
        return (real.cumsum(-1) == 1) & (real == 1)


class LongformerQuestionAnswering(Choosing, QuestionAnswering):
    """Chooses the question, which stands before the text."""

    def chosen(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        end = self.question_end(inputs)
        return torch.arange(inputs["input_ids"].shape[-1], device=end.device) < end


class LongformerMultipleChoice(Choosing, MultipleChoice):
    """Chooses the choice, which stands after two separators."""

    def chosen(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        end = self.question_end(inputs)
        return torch.arange(inputs["input_ids"].shape[-1], device=end.device) > end + 1
