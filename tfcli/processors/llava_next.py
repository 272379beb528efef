"""LLaVA-NeXT's processor: the features of the whole image and of its tiles, row by row."""

from __future__ import annotations

from typing import Any

from tfcli.models.multimodal.anyres import best_resolution
from tfcli.processors.features import Features
from tfcli.processors.llava import LlavaProcessor


class LlavaNextProcessor(LlavaProcessor):
    """`input_ids`, `attention_mask`, `pixel_values`, `image_sizes`."""

    names = ("LlavaNextProcessor",)

    def count(self, features: Features, at: int, settings: Any) -> int:
        """The whole image, then the tiles without their border, and the end of each row of these.

        As transformers' `_get_number_of_features`, whose roundings the model shares.
        """
        height, width = features.image_sizes[at].tolist()
        side = features.pixel_values.shape[-2:]
        best = best_resolution(height, width, settings.image_grid_pinpoints)
        rows, columns = self.patches(*side)
        whole = rows * columns + self.extra
        rows, columns = rows * (best[0] // side[0]), columns * (best[1] // side[1])
        if width / height > columns / rows:
            rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
        return whole + rows * columns + rows
