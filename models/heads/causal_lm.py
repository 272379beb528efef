"""Language modelling from left to right: logits for the next token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from tfcli.models.config import BaseConfig
from tfcli.models.errors import ModelError
from tfcli.models.heads.words import answer_words
from tfcli.models.layers.linear import linear
from tfcli.models.losses import last_positions, next_labels, with_aux_loss
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class CausalLM(Model):
    """A backbone and `lm_head`.

    `forward` takes further keywords:
        cache: earlier keys and values; the new ones are added to it.
        logits_to_keep: give logits of this many last positions only; 0 gives all.
        targets (Tensor): [b, s], in place of labels: what each position predicts, -100 for
            nothing. They are not shifted, and `aux_loss` is not added to their loss.

    `labels` are [b, s]: the input itself, with -100 where nothing is to be learned.
    """

    task = "causal-lm"
    word_head: ClassVar[str | None] = "lm_head"
    takes: ClassVar[tuple[str, ...]] = (*Model.takes, "cache")
    keywords: ClassVar[tuple[str, ...]] = (*Model.keywords, "logits_to_keep", "targets")

    def add_head(self) -> None:
        rows, width = self.body.get_parameter(f"{self.body.tokens_of(self.config)}.weight").shape
        self.lm_head = linear(width, rows, bias=self.body.head_bias())

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        return {"lm_head.weight": f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight"}

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        targets, added = inputs.get("targets"), None
        if labels is not None:
            if targets is not None:
                raise ModelError("give labels or targets, not both")
            targets, added = next_labels(labels, inputs.get("segment_ids")), output.aux_loss
        x = last_positions(x, inputs.get("logits_to_keep", 0), targets)
        chunks = not inputs.get("return_logits", True)
        answer_words(self, output, x, targets, num_target_tokens, return_logits=not chunks)
        if output.loss is not None and targets is not None:
            output.loss = with_aux_loss(output.loss, added, targets, num_target_tokens)

    def logits_of(self, states: torch.Tensor) -> torch.Tensor:
        return self.body.adjust_logits(self.lm_head(states))
