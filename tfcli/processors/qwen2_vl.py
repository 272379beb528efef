"""Qwen2-VL's processor: as many features as an image or a video has squares of patches."""

from __future__ import annotations

from typing import Any

from tfcli.processors.features import Features
from tfcli.processors.joint import JointProcessor
from tfcli.processors.placeholders import Placeholder, repeated


class Qwen2VLProcessor(JointProcessor):
    """`input_ids`, `attention_mask`, `mm_token_type_ids` (1 for images, 2 for videos),
    `pixel_values`, `image_grid_thw`, `pixel_values_videos`, `video_grid_thw`.
    """

    names = ("Qwen2VLProcessor",)
    video_type = "Qwen2VLVideoProcessor"
    types_name = "mm_token_type_ids"

    def media(self) -> dict[str, Placeholder]:
        media = ("image", "video")
        tokens = {each: self.text.tokens.get(f"{each}_token", f"<|{each}_pad|>") for each in media}
        return {medium: Placeholder(token, token) for medium, token in tokens.items()}

    def run(self, medium: str, features: Features, at: int, settings: Any) -> str:
        count = int(features[f"{medium}_grid_thw"][at].prod()) // settings.merge_size**2
        return repeated(self.placeholders[medium].feature, count)
