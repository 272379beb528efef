"""The base class of the body of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.config import WHERE, ModelConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.losses import IGNORED


class EncoderDecoder(Backbone):
    """Two stacks of blocks; each is called with `(input_ids, inputs_embeds, context)`.

    Class attributes, beside those of `Backbone`:
        lists: paths of the encoder's and the decoder's blocks.
        shares: parameter -> the one that it shares with tied word embeddings. Paths begin at the
            backbone.
        logits_bias: the language-model head has the buffer `final_logits_bias`.
    """

    tokens = "shared"
    packs = False
    lists: ClassVar[tuple[str, str]]
    shares: ClassVar[dict[str, str]] = {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }
    logits_bias: ClassVar[bool] = False

    encoder: nn.Module
    decoder: nn.Module

    @classmethod
    def tied(cls, config: ModelConfig, ties: Mapping[str, str]) -> dict[str, str]:
        """Which of a model's ties a config asks for."""
        return dict(ties) if config.tie_word_embeddings else {}

    def encode(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        context: Context,
    ) -> torch.Tensor:
        """The encoder's states after its final norm, [b, k, d]. Arguments as in `forward`."""
        return self.encoder(input_ids, inputs_embeds, context)

    def decode(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        context: Context,
    ) -> torch.Tensor:
        """The decoder's states after its final norm, [b, s, d].

        Arguments as in `forward`; `context.memory` holds what the encoder gave.
        """
        return self.decoder(input_ids, inputs_embeds, context)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        context: Context,
        **inputs: torch.Tensor | None,
    ) -> torch.Tensor:
        """Run the encoder alone, for tasks that need no decoder; see `Backbone.forward`."""
        return self.encode(input_ids, inputs_embeds, context)

    def drop_decoder(self) -> None:
        """Go without a decoder, in tasks that need none."""
        del self.decoder

    def before_logits(self, x: torch.Tensor) -> torch.Tensor:
        """What becomes of the decoder's states before the language-model head. Same shape."""
        return x

    def shifted(
        self, ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the decoder sees so that each position predicts the id at its place.

        Args:
            ids (Tensor): [b, s]; -100 counts as padding.
            attention_mask (Tensor): [b, s] of 0/1 over `ids`, for padding on the left.

        Returns:
            [b, s], the ids one place on, after the token that begins a text

        Raises:
            ModelError: the config does not name the tokens that are needed.
        """
        padding = self.config.pad_token_id
        if padding is None:
            raise _lacks("pad_token_id")
        ids = ids.masked_fill(ids == IGNORED, padding)
        start = self.start_ids(ids, attention_mask)[:, None]
        first = torch.zeros_like(start)
        if attention_mask is not None:
            first = attention_mask.long().argmax(-1, keepdim=True)
        return ids.roll(1, -1).scatter(1, first, start)

    def start_ids(self, ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """The token that begins each row of a target: [b]. Arguments as in `shifted`."""
        return torch.full_like(ids[:, 0], self.start_id())

    def start_id(self) -> int:
        """The token that begins a target.

        Raises:
            ModelError: the config names none.
        """
        start = getattr(self.config, "decoder_start_token_id", None)
        if start is None:
            raise _lacks("decoder_start_token_id")
        return int(start)


def _lacks(key: str) -> ModelError:
    return ModelError(
        f"a target cannot be shifted right without {key}", where=f"{WHERE}, key {key}"
    )
