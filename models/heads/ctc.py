"""Connectionist temporal classification (Graves et al. 2006): a letter or a blank each moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.configs.wav2vec2 import Wav2Vec2Config
from tfcli.models.errors import ModelError
from tfcli.models.layers.linear import linear
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class CTC(Model):
    """Dropout and one linear on every state. Logits [b, s, vocab].

    `labels` are [b, letters], without blanks and filled up with -100. The blank is pad_token_id.
    """

    task = "ctc"

    config: Wav2Vec2Config

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.final_dropout)
        self.lm_head = linear(self.body.width(), self.config.vocab_size, bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.lm_head(self.dropout(x))

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        output.logits = self.answer(x, inputs)
        if labels is not None:
            mask = self.body.mask_of(inputs.get("attention_mask"), inputs, x)
            output.loss = self.alignment_loss(output.logits, labels, mask)

    def alignment_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """How improbable the labels are, over all ways to spread them over the states.

        Args:
            logits (Tensor): [b, s, vocab]
            labels (Tensor): [b, letters]
            mask (Tensor): [b, s] of 0/1, states of the audio; or None.

        Returns:
            [], the sum or the mean, as the config says

        Raises:
            ModelError: a label that there is no output for.
        """
        config = self.config
        if int(labels.max()) >= config.vocab_size:
            raise ModelError(
                f"label {int(labels.max())} is outside of the {config.vocab_size:,} outputs",
                where="labels",
            )
        rows, places = logits.shape[:2]
        lengths = torch.full((rows,), places) if mask is None else mask.sum(-1)
        blank = config.pad_token_id or 0
        letters = (labels >= 0) & (labels != blank)  # blanks fill up, too
        with torch.backends.cudnn.flags(enabled=False):  # its losses differ
            return F.ctc_loss(
                logits.float().log_softmax(-1).transpose(0, 1),
                labels.masked_select(letters),
                lengths,
                letters.sum(-1),
                blank=blank,
                reduction=config.ctc_loss_reduction,
                zero_infinity=config.ctc_zero_infinity,
            )
