"""Language modelling from one text to another: logits for the next token of the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from tfcli.models.config import BaseConfig
from tfcli.models.heads.seq2seq import Seq2Seq
from tfcli.models.heads.words import answer_words
from tfcli.models.layers.linear import linear
from tfcli.models.losses import last_positions
from tfcli.models.output import ModelOutput

BIAS = "final_logits_bias"


class Seq2SeqLM(Seq2Seq):
    """An encoder-decoder and `lm_head`.

    `labels` are [b, s]: the target itself, with -100 where nothing is to be learned. Without
    decoder inputs, the decoder sees it shifted right by one place. `logits_to_keep` is that of
    `CausalLM`.
    """

    task = "seq2seq-lm"
    keywords: ClassVar[tuple[str, ...]] = (*Seq2Seq.keywords, "logits_to_keep")

    def add_head(self) -> None:
        rows, width = self.body.get_parameter("decoder.embed_tokens.weight").shape
        self.lm_head = linear(width, rows, bias=False)
        if self.body_class.logits_bias:
            self.register_buffer(BIAS, torch.zeros(1, rows))

    def default(self, name: str) -> torch.Tensor | None:
        if name == BIAS:
            return torch.zeros(self.get_buffer(BIAS).shape)
        return super().default(name)

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        table = f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight"
        return {**super().possible_ties(config), "lm_head.weight": table}

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
        if labels is not None and all(inputs.get(name) is None for name in targets):
            inputs["decoder_input_ids"] = self.body.shifted(labels)
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
        x = last_positions(x, inputs.get("logits_to_keep", 0), labels)
        chunks = not inputs.get("return_logits", True)
        answer_words(self, output, x, labels, num_target_tokens, return_logits=not chunks)

    def logits_of(self, states: torch.Tensor) -> torch.Tensor:
        logits = self.lm_head(self.body.before_logits(states))
        if self.body_class.logits_bias:
            logits = logits + self.get_buffer(BIAS).to(states.dtype)
        return self.body.adjust_logits(logits)
