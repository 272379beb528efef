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
from tfcli.models.rules import OldName, Rename
from tfcli.models.vision.tower import VisionBackbone

V = TypeVar("V", bound=VisionLanguageConfig)


# Checkpoints of LLaVA and its descendants have the names that these models had before transformers
# 4.52, and transformers 5 still writes them.
_BESIDE = r"(?=vision_tower\.|multi_modal_projector\.|image_newline$)"
LLAVA_NAMES = (
    Rename(r"^lm_head\.", "language_model.lm_head.", of_files=True),
    Rename(r"^model\.language_model\.", "language_model.model.", of_files=True),
    Rename(rf"^model\.{_BESIDE}", "", of_files=True),
    OldName(r"^model\.language_model\.", "language_model.model."),
    OldName(rf"^model\.{_BESIDE}", ""),
    OldName(r"^lm_head\.", "language_model.lm_head."),
    OldName(r"^vision_tower\.vision_model\.", "vision_tower."),
)


class VisionLanguage(Backbone[V]):
    """A tower for images, and a language model. A family says what makes features of its states.

    Images come in the pass of the tokens that stand for them, of a prompt or of what follows it.

    Class attributes:
        pixels: medium -> the input that it comes as. Its features can be given in place of that,
            as `<medium>_features`.
    """

    pixels: ClassVar[dict[str, str]] = {"image": "pixel_values"}
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "image_features")
    parts: ClassVar[dict[str, str]] = {
        "vision_tower": "vision_config",
        "language_model": "text_config",
    }

    vision_tower: VisionBackbone[Any]
    language_model: Backbone[Any]

    def __init__(self, config: V, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        for name, field in self.parts.items():
            self.add_module(name, self.make_part(field))

    def features(self, inputs: Mapping[str, Any], medium: str) -> torch.Tensor:
        """Features of all images, in their order: [..., d], d of the language model.

        Args:
            inputs: of the forward pass; has what the medium comes as.
            medium: one of `pixels`.
        """
        raise TypeError(f"{type(self).__name__} defines no features")

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        made = dict(inputs)
        for medium, name in self.pixels.items():
            if inputs.get(name) is None or len(inputs[name]) == 0:
                continue
            if inputs.get(f"{medium}_features") is not None:
                raise ModelError(f"give one of {name} and {medium}_features, not both")
            made[f"{medium}_features"] = self.features(inputs, medium)
        return made

    def feature_counts(self, inputs: Mapping[str, Any]) -> dict[str, int]:
        """Medium -> how many features are made of it; on the meta device from shapes alone.

        Args:
            inputs: of the media of a forward pass.
        """
        made = self.prepare(dict(inputs))
        given = {medium: made.get(f"{medium}_features") for medium in self.pixels}
        return {
            medium: features.flatten(0, -2).shape[0]
            for medium, features in given.items()
            if features is not None
        }

    def embed(
        self,
        *,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Embed tokens, and put features in the places of the tokens that stand for them.

        Args:
            input_ids (Tensor): [b, s]
            inputs_embeds (Tensor): [b, s, d], in place of input_ids, without images.
            inputs: `image_features` [..., d], as many as there are image tokens, and the same of
                other media.

        Returns:
            [b, s, d]

        Raises:
            ModelError: features and their tokens differ in number.
        """
        given = {m: inputs[f"{m}_features"] for m in self.pixels if f"{m}_features" in inputs}
        if not given:
            return self.language_model.embed(input_ids=input_ids, inputs_embeds=inputs_embeds)
        if input_ids is None:
            raise ModelError("images go with input_ids, which say where they are")
        places = {medium: input_ids == self.config.media_tokens[medium] for medium in given}
        words = input_ids
        for each in places.values():  # their ids may have no row in the table
            words = words.masked_fill(each, 0)
        x = self.language_model.embed(input_ids=words)
        for medium, features in given.items():
            x = put_features(x, places[medium], features.flatten(0, -2), medium)
        return x

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
    # Counting waits for the device, so it is done where that costs nothing. Tensors of other kinds
    # may hold no numbers.
    counts = type(places) is torch.Tensor and places.device.type == "cpu"
    if counts and not torch.compiler.is_compiling():
        wanted = int(places.sum())
        if wanted != len(features):
            raise ModelError(
                f"the text has {wanted} {kind} tokens, but there are {len(features)} features",
                where="input_ids",
                fix="prepare text and media with one call of the model's processor",
            )
    return x.masked_scatter(places[..., None], features.to(x))


def runs_of(marked: torch.Tensor) -> torch.Tensor:
    """Numbers of the runs of marked places in each row; see `Backbone.groups_of`.

    Args:
        marked (Tensor): bool [b, s]

    Returns:
        int64 [b, s], -1 where nothing is marked
    """
    before = torch.nn.functional.pad(marked[:, :-1], (1, 0), value=False)
    return ((marked & ~before).long().cumsum(-1) - 1).masked_fill(~marked, -1)
