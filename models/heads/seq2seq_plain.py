"""Classifiers and the like on top of an encoder-decoder: the decoder reads the source again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models import processor
from tfcli.models.config import BaseConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.errors import ModelError
from tfcli.models.heads.embedding import Embedding
from tfcli.models.heads.question_answering import QuestionAnswering
from tfcli.models.heads.seq2seq import Seq2Seq
from tfcli.models.heads.sequence_classification import SequenceClassification
from tfcli.models.layers.linear import linear
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput

_LM_HEAD = {r"^(lm_head\.weight|final_logits_bias)$": "part of the language-model head"}


class EncoderHead(Seq2Seq):
    """The base of a head on the encoder alone. The decoder is left out."""

    stacks = ("encoder",)
    takes = Model.takes
    keywords = Model.keywords
    run = Model.run
    make_cache = Model.make_cache

    def add_head(self) -> None:
        super().add_head()
        self.body.drop_decoder()

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        decoder = {r"^(\w+\.)?decoder\.": f"{cls.task} does not use the decoder"}
        return super().ignorable_of(config) | _LM_HEAD | decoder


class Seq2SeqPlain(Seq2Seq):
    """A head that is computed from the decoder's states.

    Without decoder inputs, the decoder sees the source, shifted right by one place.
    """

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        return super().ignorable_of(config) | _LM_HEAD

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        labels: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        **inputs: Any,
    ) -> ModelOutput:
        targets = ("decoder_input_ids", "decoder_inputs_embeds")
        if all(inputs.get(name) is None for name in targets):
            if input_ids is None:
                raise ModelError(f"{self.task} needs input_ids, or inputs of the decoder")
            inputs["decoder_input_ids"] = self.body.shifted(input_ids, attention_mask)
            inputs["decoder_attention_mask"] = attention_mask
        return super().forward(
            input_ids,
            attention_mask,
            labels=labels,
            num_target_tokens=num_target_tokens,
            **inputs,
        )

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        # The states are the decoder's, and so is the mask that an answer looks at.
        own = {**inputs, "attention_mask": inputs.get("decoder_attention_mask")}
        super().finish(x, output, own, labels, num_target_tokens)


class Seq2SeqQuestionAnswering(Seq2SeqPlain, QuestionAnswering):
    """Where in the input the answer begins and ends; see `QuestionAnswering`."""


class Seq2SeqEmbedding(Seq2SeqPlain, Embedding):
    """The decoder's states, pooled; see `Embedding`."""


class Seq2SeqClassification(Seq2SeqPlain, SequenceClassification):
    """Two linears on the decoder's state at the last end-of-text token. Logits [b, labels]."""

    pools = False

    def add_head(self) -> None:
        self.classification_head = ClassificationHead(self.config)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.classification_head(end_states(x, inputs.get("input_ids"), self.config.text))


class ClassificationHead(nn.Module):
    """Linear, tanh, linear, with dropout before both."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.dense = linear(config.width, config.width, bias=True)
        self.dropout = nn.Dropout(config.head_dropout)
        self.out_proj = linear(config.width, config.num_labels, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d] -> [b, labels]"""
        x = torch.tanh(self.dense(self.dropout(x)))
        return self.out_proj(self.dropout(x))


def end_states(x: torch.Tensor, input_ids: torch.Tensor | None, config: TextConfig) -> torch.Tensor:
    """The state at the place of each row's last end-of-text token.

    Args:
        x (Tensor): [b, s, d]
        input_ids (Tensor): [b, s]
        config: names the token.

    Returns:
        [b, d]

    Raises:
        ModelError: no ids, or a row without this token.
    """
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if input_ids is None or input_ids.shape != x.shape[:2] or ends == [None]:
        raise ModelError(
            "the place of the end-of-text token is not known",
            fix="give input_ids, let the decoder inputs follow from them, and set eos_token_id",
        )
    # Not torch.isin, which ONNX does not have.
    found = (input_ids[..., None] == torch.tensor(ends, device=input_ids.device)).any(-1)
    if processor.can_read(found) and not bool(found.any(-1).all()):
        raise ModelError(
            f"a text has no end-of-text token (id {ends[0]})",
            where="input_ids",
            fix="end each text with it",
        )
    places = torch.arange(x.shape[1], device=x.device)
    return x[torch.arange(x.shape[0], device=x.device), (found * places).argmax(-1)]
