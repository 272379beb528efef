"""Language modelling with gaps: logits for the words at masked positions."""

from __future__ import annotations

import torch

from tfcli.models.model import Model


class MaskedLM(Model):
    """Base of the families' masked-language-model heads. Logits [b, s, vocab].

    A family adds its head's layers and `answer`, which takes each position by itself. `labels` are
    [b, s]: the word at masked positions, -100 elsewhere.
    """

    task = "masked-lm"

    def logits_of(self, states: torch.Tensor) -> torch.Tensor:
        return self.answer(states, {})
