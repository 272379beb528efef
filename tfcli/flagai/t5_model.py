"""FlagAI's T5 class."""

from __future__ import annotations

from typing import Any

import torch

from tfcli.flagai.base_model import BaseModel, Output
from tfcli.models.cache import Cache


class T5Model(BaseModel):
    """T5, with scores for the next word of the target at each place."""

    kind = "t5"
    task = "seq2seq-lm"

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        encoder_states: torch.Tensor | None = None,
        cache: Cache | None = None,
        **surplus: Any,
    ) -> Output:
        """Score the next word of the target.

        Args:
            input_ids (Tensor): [b, k], the source.
            attention_mask (Tensor): [b, k], 1 for a token and 0 for padding.
            decoder_input_ids (Tensor): [b, s], the target; None: labels, one place to the right.
            decoder_attention_mask (Tensor): [b, cached + s]
            labels (Tensor): [b, s], the target; -100 where nothing is to be learned.
            encoder_states (Tensor): [b, k, d], `encoder_last_hidden_state` of an earlier call.
            cache: earlier keys and values of the core.
            surplus: not looked at.

        Returns:
            `logits` [b, s, vocab], `hidden_states` (the decoder's), `encoder_last_hidden_state`
            where the encoder ran, and `loss` with labels
        """
        out = self.core(
            input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            labels=labels,
            encoder_states=encoder_states,
            cache=cache,
            output_hidden_states=True,
        )
        answer: Output = {"logits": out.logits, "hidden_states": out.hidden_states}
        if out.encoder_last_hidden_state is not None:
            answer["encoder_last_hidden_state"] = out.encoder_last_hidden_state
        if labels is not None:
            answer["loss"] = out.loss
        return answer
