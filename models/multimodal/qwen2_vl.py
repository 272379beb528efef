"""Qwen2-VL (Wang et al. 2024): images and videos of any size, positions of three numbers.

Reference: transformers `modeling_qwen2_vl.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch

from tfcli.models import processor
from tfcli.models.configs.qwen2_vl import Qwen2VLConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.multimodal.composite import VisionLanguage
from tfcli.models.multimodal.mrope import PositionShift, rope_index
from tfcli.models.rules import OldName, Rename
from tfcli.models.vision.qwen2_vl import Qwen2VLVisionModel

_KINDS = {"image": 1, "video": 2}  # as mm_token_type_ids number them


class Qwen2VLModel(VisionLanguage[Qwen2VLConfig]):
    """A tower that makes features itself, and a language model.

    Inputs beside those of `VisionLanguage`: `image_grid_thw` int [images, 3], frames, rows and
    columns of the patches of each image, and the same of videos; `mm_token_type_ids` [b, s], 1 for
    an image's token and 2 for a video's, by default taken from `input_ids`. `position_ids` of three
    numbers are [3, b, s], as in transformers.
    """

    pixels: ClassVar[dict[str, str]] = {"image": "pixel_values", "video": "pixel_values_videos"}
    inputs = (
        *pixels.values(),
        "image_features",
        "video_features",
        "image_grid_thw",
        "video_grid_thw",
        "mm_token_type_ids",
    )
    parts: ClassVar[dict[str, str]] = {"visual": "vision_config", "language_model": "text_config"}
    # transformers 5 still writes the names that these models had before 4.52.
    rules = (
        Rename(r"^model\.visual\.", "visual.", of_files=True),
        Rename(r"^model\.language_model\.", "model.", of_files=True),
        OldName(r"^model\.visual\.", "visual."),
        OldName(r"^model\.language_model\.", "model."),
    )

    visual: Qwen2VLVisionModel

    def __init__(self, config: Qwen2VLConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.shift = PositionShift()

    def features(self, inputs: Mapping[str, Any], medium: str) -> torch.Tensor:
        """Patches (Tensor) of the inputs: [patches, values] -> [features, d], of all media"""
        patches = inputs[self.pixels[medium]]
        grid = self.grid_of(inputs, medium)
        parts = [
            self.visual.merger(self.visual.encode(hidden_states=some, grid_thw=part))
            for some, part in alike(patches, grid)
        ]
        return torch.cat(parts)

    def grid_of(self, inputs: Mapping[str, Any], medium: str) -> torch.Tensor:
        """Frames, rows and columns of a kind of media: int [n, 3]

        Raises:
            ModelError: there is none.
        """
        grid = inputs.get(f"{medium}_grid_thw")
        if not isinstance(grid, torch.Tensor):
            raise ModelError(
                f"each {medium} goes with a row of {medium}_grid_thw, the order of its patches",
                where=f"{medium}_grid_thw",
                fix="prepare text and media with one call of the model's processor",
            )
        return grid

    def begin(self, inputs: Mapping[str, Any], **options: Any) -> tuple[torch.Tensor, Context]:
        placed = options.get("position_ids")
        if placed is not None and placed.ndim == 3:
            options["position_ids"] = placed.transpose(0, 1)
        return super().begin(inputs, **options)

    def positions_of(self, context: Context) -> torch.Tensor:
        """See `Backbone.positions_of`; [b, 3, s] where there are media."""
        counted, shift = context.positions, self.shift.carried(context)
        start = counted if shift is None else counted + shift
        media = [medium for medium in _KINDS if f"{medium}_features" in context.inputs]
        if not media:
            return start
        positions, after = rope_index(
            self.kinds(context),
            {_KINDS[medium]: self.grid_of(context.inputs, medium) for medium in media},
            self.config.vision_config.spatial_merge_size,
            start[:, :1],
            context.padding,
            context.sight.segments,
        )
        self.shift.carry_on(context, after - counted[:, -1:] - 1)
        return positions

    def kinds(self, context: Context) -> torch.Tensor:
        """What each new token stands for: int64 [b, s], 0 for a word."""
        given, ids = context.inputs.get("mm_token_type_ids"), context.inputs["input_ids"]
        if given is not None:
            if given.shape != ids.shape:
                raise ModelError(
                    f"mm_token_type_ids has shape {tuple(given.shape)}, expected {tuple(ids.shape)}"
                )
            return given.long()
        kinds = torch.zeros_like(ids)
        for medium, token in self.config.media_tokens.items():
            kinds = kinds.masked_fill(ids == token, _KINDS[medium])
        return kinds


def alike(patches: torch.Tensor, grid: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Patches and grids of neighbours whose frames are of one size, which a tower takes as a batch.

    All at once where the grid cannot be read for nothing.

    Args:
        patches (Tensor): [n, values]
        grid (Tensor): int [media, 3]
    """
    if not processor.can_read(grid) or grid.ndim != 2 or len(patches) != int(grid.prod(1).sum()):
        yield patches, grid  # the tower says what is wrong with it
        return
    begin = first = 0
    for last in range(1, len(grid) + 1):
        if last == len(grid) or bool((grid[last, 1:] != grid[first, 1:]).any()):
            end = begin + int(grid[first:last].prod(1).sum())
            yield patches[begin:end], grid[first:last]
            begin, first = end, last
