"""FlagAI's GPT-2 class."""

from __future__ import annotations

from typing import Any

import torch

from tfcli.flagai.base_model import BaseModel, Output
from tfcli.models.cache import Cache


class GPT2Model(BaseModel):
    """GPT-2, with scores for the next word at each place."""

    kind = "gpt2"
    task = "causal-lm"

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        cache: Cache | None = None,
        **surplus: Any,
    ) -> Output:
        """Score the next word.

        Args:
            input_ids (Tensor): [b, s]
            attention_mask (Tensor): [b, cached + s], 1 for a token and 0 for padding. None: the
                config's pad_token_id is padding, where it names one and there is no cache.
            position_ids (Tensor): [b or 1, s]; None: counted from the left.
            labels (Tensor): [b, s], the input itself; -100 where nothing is to be learned.
            cache: earlier keys and values of the core.
            surplus: not looked at.

        Returns:
            `logits` [b, s, vocab], `hidden_states` (the embeddings and each layer's), and `loss`
            with labels
        """
        padding = self.core.config.text.pad_token_id
        if attention_mask is None and padding is not None and cache is None:
            attention_mask = input_ids != padding
        if position_ids is None:
            past = 0 if cache is None else cache.length
            at = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)
            position_ids = at[None]
        out = self.core(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            labels=labels,
            cache=cache,
            output_hidden_states=True,
        )
        answer: Output = {"logits": out.logits, "hidden_states": out.hidden_states}
        if labels is not None:
            answer["loss"] = out.loss
        return answer
