"""LLaVA's processor: an image stands in the text as one token for each feature of its patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError, WorkError
from tfcli.processors.features import Features
from tfcli.processors.joint import JointProcessor
from tfcli.processors.placeholders import Placeholder, repeated
from tfcli.processors.settings import Settings

STRATEGIES = ("default", "full")


@dataclass(frozen=True, kw_only=True)
class LlavaSettings(Settings):
    """What processor_config.json says of the vision tower.

    Args:
        patch_size: the side of a patch of the tower, in pixels.
        vision_feature_select_strategy: `default` leaves the tower's first feature out, `full` does
            not.
        image_token: stands for an image, where the tokenizer names no other.
        num_additional_image_tokens: features besides those of patches, such as the class's.
    """

    patch_size: int | None = None
    vision_feature_select_strategy: str | None = None
    image_token: str = "<image>"
    num_additional_image_tokens: int = 0

    def check(self) -> None:
        if self.patch_size is not None and self.patch_size < 1:
            raise WorkError("must be at least 1", where="patch_size")
        strategy = self.vision_feature_select_strategy
        if strategy not in (None, *STRATEGIES):
            raise WorkError(
                f"{strategy!r} is none of {', '.join(STRATEGIES)}",
                where="vision_feature_select_strategy",
            )


class LlavaProcessor(JointProcessor):
    """`input_ids`, `attention_mask`, `pixel_values`."""

    names = ("LlavaProcessor",)
    defaults = LlavaSettings()

    def media(self) -> dict[str, Placeholder]:
        token = self.text.tokens.get("image_token", self.settings.image_token)
        return {"image": Placeholder(token, token)}

    def run(self, medium: str, features: Features, at: int, settings: Any) -> str:
        return repeated(self.placeholders[medium].feature, self.count(features, at, settings))

    def count(self, features: Features, at: int, settings: Any) -> int:
        """How many features the tower and the projector make of an image."""
        rows, columns = self.patches(*features.pixel_values.shape[-2:])
        return rows * columns + self.extra

    @property
    def extra(self) -> int:
        """Features of an image besides those of its patches; -1 where one of these is left out."""
        own = self.settings
        number: int = own.num_additional_image_tokens
        return number - (own.vision_feature_select_strategy == "default")

    def patches(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of what the tower is given.

        Raises:
            UsageError: the settings do not say how large a patch is.
        """
        patch = self.settings.patch_size
        if patch is None:
            raise UsageError(
                "is not given, so that nobody knows how many features an image has",
                where="patch_size",
                fix="set it in processor_config.json as the vision tower's config has it",
            )
        return height // patch, width // patch
