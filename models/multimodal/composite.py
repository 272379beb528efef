"""A language model some of whose tokens are features of an image: the base of such families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch

from tfcli.models.backbone import Backbone
from tfcli.models.config import BaseConfig
from tfcli.models.configs.multimodal import VisionLanguageConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError

V = TypeVar("V", bound=VisionLanguageConfig)


class VisionLanguage(Backbone[V]):
    """A tower for images, and a language model. A family says what makes features of its states.

    Images come with the prompt only: while a text is continued with a cache there are none.
    """

    inputs = ("pixel_values", "image_features")
    parts: ClassVar[dict[str, str]] = {
        "vision_tower": "vision_config",
        "language_model": "text_config",
    }

    def __init__(self, config: V, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.vision_tower = self.make_part("vision_config")
        self.language_model = self.make_part("text_config")

    def features(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Features of all images, in their order: [n, d], d of the language model.

        Args:
            inputs: of the forward pass; has `pixel_values`.
        """
        raise TypeError(f"{type(self).__name__} defines no features")

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if inputs.get("pixel_values") is None:
            return inputs
        if inputs.get("image_features") is not None:
            raise ModelError("give one of pixel_values and image_features, not both")
        return {**inputs, "image_features": self.features(inputs)}

    def embed(
        self,
        *,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Embed tokens, and put features in the places of image tokens.

        Args:
            input_ids (Tensor): [b, s]
            inputs_embeds (Tensor): [b, s, d], in place of input_ids, without images.
            image_features (Tensor): [n, d], as many as there are image tokens.

        Returns:
            [b, s, d]

        Raises:
            ModelError: features and image tokens differ in number.
        """
        if image_features is None:
            return self.language_model.embed(input_ids=input_ids, inputs_embeds=inputs_embeds)
        if input_ids is None:
            raise ModelError("images go with input_ids, which say where they are")
        places = input_ids == self.config.image_token
        x = self.language_model.embed(input_ids=input_ids.masked_fill(places, 0))
        return put_features(x, places, image_features, "image")

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return self.language_model(x, context)

    @classmethod
    def tokens_of(cls, config: BaseConfig) -> str:
        from tfcli.models.registry import get_family

        text = config.text
        part = get_family(text.model_type).backbone_class()
        return f"language_model.{part.tokens_of(text)}"

    def head_bias(self) -> bool:
        return self.language_model.head_bias()

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        return self.language_model.adjust_logits(logits)

    def width(self) -> int:
        return self.language_model.width()

    def init_std(self, name: str) -> float:
        """That of the language model, also of what lies between the parts."""
        return self.config.text_config.initializer_range


def put_features(
    x: torch.Tensor, places: torch.Tensor, features: torch.Tensor, kind: str
) -> torch.Tensor:
    """Features in the places of the tokens that stand for them.

    Args:
        x (Tensor): [b, s, d]
        places (Tensor): [b, s], true where a feature goes.
        features (Tensor): [n, d], in the order of the places, row by row.
        kind: of the medium, for errors.

    Returns:
        [b, s, d]

    Raises:
        ModelError: another number of features than of places, or another width.
    """
    if features.shape[-1] != x.shape[-1]:
        raise ModelError(
            f"{kind} features have width {features.shape[-1]}, "
            f"but the language model's embeddings have {x.shape[-1]}"
        )
    # Counting waits for the device, so it is done where that costs nothing.
    if not torch.compiler.is_compiling() and places.device.type == "cpu":
        wanted = int(places.sum())
        if wanted != len(features):
            raise ModelError(
                f"the text has {wanted} {kind} tokens, but there are {len(features)} features",
                where="input_ids",
                fix="prepare text and media with one call of the model's processor",
            )
    return x.masked_scatter(places[..., None], features.to(x))
