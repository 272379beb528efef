"""Language modelling from left to right: logits for the next token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from tfcli.models.config import BaseConfig
from tfcli.models.layers.linear import linear
from tfcli.models.losses import causal_lm_loss, last_positions
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class CausalLM(Model):
    """A backbone and `lm_head`.

    `forward` takes further keywords:
        cache: earlier keys and values; the new ones are added to it.
        logits_to_keep: give logits of this many last positions only; 0 gives all.

    `labels` are [b, s]: the input itself, with -100 where nothing is to be learned.
    """

    task = "causal-lm"
    takes: ClassVar[tuple[str, ...]] = (*Model.takes, "cache")
    keywords: ClassVar[tuple[str, ...]] = ("logits_to_keep",)

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
        x = last_positions(x, inputs.get("logits_to_keep", 0), labels)
        output.logits = self.body.adjust_logits(self.lm_head(x))
        if labels is not None:
            output.loss = causal_lm_loss(
                output.logits, labels, num_target_tokens, inputs.get("segment_ids"), output.aux_loss
            )
