"""Gemma 3's processor: an image, and each of its crops, is a fixed number of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tfcli.errors import WorkError
from tfcli.processors.features import Features
from tfcli.processors.joint import JointProcessor
from tfcli.processors.placeholders import Placeholder, repeated
from tfcli.processors.settings import Settings

_TOKENS = {
    "boi_token": "<start_of_image>",
    "image_token": "<image_soft_token>",
    "eoi_token": "<end_of_image>",
}


@dataclass(frozen=True, kw_only=True)
class Gemma3Settings(Settings):
    """`image_seq_length`: features of an image or a crop."""

    image_seq_length: int = 256

    def check(self) -> None:
        if self.image_seq_length < 1:
            raise WorkError("must be at least 1", where="image_seq_length")


class Gemma3Processor(JointProcessor):
    """`input_ids`, `attention_mask`, `token_type_ids` (1 for what stands for an image's feature),
    `pixel_values`.

    `<start_of_image>` stands for an image in the text that is given.
    """

    names = ("Gemma3Processor",)
    defaults = Gemma3Settings()
    image_defaults: ClassVar[Mapping[str, Any]] = {
        "do_convert_rgb": True,
        "do_pan_and_scan": False,
        "pan_and_scan_min_crop_size": 256,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    }
    types_name = "token_type_ids"
    unused = ("num_crops",)

    def media(self) -> dict[str, Placeholder]:
        begin, feature, end = (self.text.tokens.get(key, _TOKENS[key]) for key in _TOKENS)
        return {"image": Placeholder(begin, feature, (begin, end))}

    def run(self, medium: str, features: Features, at: int, settings: Any) -> str:
        own = self.placeholders[medium]
        crops = int(features.num_crops[at])
        soft = repeated(own.feature, self.settings.image_seq_length, crops + 1)
        one = f"\n\n{own.token}{soft}{own.around[1]}\n\n"
        if not crops:
            return one
        return (
            f"Here is the original image {one} and here are some crops to help you see better "
            + " ".join([one] * crops)
        )

    def texts(self, texts: Sequence[str] | None, counts: Sequence[int]) -> list[str] | None:
        token = self.placeholders["image"].token
        if texts is None and counts:
            return [" ".join([token] * count) for count in counts]
        return super().texts(texts, counts)
