"""The base class of the body of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch

from tfcli.models.backbone import Backbone, C
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import WHERE, BaseConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.losses import IGNORED


class EncoderDecoder(Backbone[C]):
    """Two stacks of blocks, each of which is a backbone.

    By itself it is its encoder, for tasks that need no decoder; `Seq2Seq` runs both.

    Class attributes, beside those of `Backbone`:
        lists: paths of the encoder's and the decoder's blocks, unless these are `parts`.
        shares: parameter -> the one that it shares with tied word embeddings. Paths begin at the
            backbone.
        logits_bias: the language-model head has the buffer `final_logits_bias`.
    """

    tokens = "shared"
    packs = False
    lists: ClassVar[tuple[str, ...]] = ()
    shares: ClassVar[dict[str, str]] = {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }
    logits_bias: ClassVar[bool] = False

    encoder: Backbone[Any]
    decoder: Backbone[Any]

    @classmethod
    def tied(cls, config: BaseConfig, ties: Mapping[str, str]) -> dict[str, str]:
        """Which of a model's ties a config asks for."""
        return dict(ties) if config.tie_word_embeddings else {}

    def embed(self, **inputs: Any) -> torch.Tensor:
        """The encoder's embeddings; see `Backbone.embed`."""
        return self.encoder.embed(**inputs)

    def mask_of(
        self, attention_mask: torch.Tensor | None, inputs: Mapping[str, Any], x: torch.Tensor
    ) -> torch.Tensor | None:
        return self.encoder.mask_of(attention_mask, inputs, x)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Run the encoder alone: x (Tensor): [b, k, d] -> [b, k, d]; see `Backbone.forward`."""
        return self.encoder(x, context)

    def own_walks(self) -> tuple[CalibrationWalk, ...]:
        """Those of both stacks, if both have one, unless these are parts."""
        names = [name for name in ("encoder", "decoder") if self.lists and hasattr(self, name)]
        found = [
            replace(walk, blocks=f"{name}.{walk.blocks}")
            for name in names
            for walk in getattr(self, name).own_walks()
        ]
        return tuple(found) if len(found) == len(names) else ()

    def block_lists(self) -> tuple[str, ...]:
        there = ("encoder", "decoder") if hasattr(self, "decoder") else ("encoder",)
        return tuple(path for path in self.lists if path.startswith(there))

    def states_mask(
        self,
        attention_mask: torch.Tensor | None,
        states: torch.Tensor | None,
        inputs: Mapping[str, Any],
    ) -> torch.Tensor | None:
        """Which of the encoder's states the decoder may see.

        Args:
            attention_mask (Tensor): of the encoder's input, or None.
            states (Tensor): [b, k, d]; None where a cache holds what is made of them.
            inputs: of the forward pass.

        Returns:
            [b, k] of 0/1, or None for all
        """
        return attention_mask

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
        padding = self.config.text.pad_token_id
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
        start = getattr(self.config.text, "decoder_start_token_id", None)
        if start is None:
            raise _lacks("decoder_start_token_id")
        return int(start)


def _lacks(key: str) -> ModelError:
    return ModelError(
        f"a target cannot be shifted right without {key}", where=f"{WHERE}, key {key}"
    )
