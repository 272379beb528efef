"""Language modelling with gaps: logits for the words at masked positions."""

from __future__ import annotations

from tfcli.models.model import Model


class MaskedLM(Model):
    """Base of the families' masked-language-model heads. Logits [b, s, vocab].

    A family adds its head's layers and `answer`. `labels` are [b, s]: the word at masked
    positions, -100 elsewhere.
    """

    task = "masked-lm"
