"""Qwen2-VL's video processor: patches that reach over two frames, from frames that are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.processors.features import Features
from tfcli.processors.folder import VIDEO
from tfcli.processors.images.base import VisionProcessor
from tfcli.processors.images.qwen2_vl import (
    Qwen2VLImageProcessor,
    Qwen2VLSettings,
    framed,
    patched,
)
from tfcli.processors.images.size import Size, check_made


@dataclass(frozen=True, kw_only=True)
class Qwen2VLVideoSettings(Qwen2VLSettings):
    """Frames are taken as they are given.

    Args:
        do_sample_frames: choosing some of the frames; that is not built.
        cap_pixels_per_frame: fewer pixels a frame the more frames there are; that is not built.
    """

    do_sample_frames: bool | None = None
    cap_pixels_per_frame: bool | None = None


class Qwen2VLVideoProcessor(VisionProcessor):
    """Patches of all videos, and the grid of each.

    `pixel_values_videos` [patches, c · temporal · p · p], `video_grid_thw` [b, 3]: patches in time,
    rows and columns. Where the frames do not divide by `temporal_patch_size`, the last one is
    repeated. Frames are resized through Pillow, as images are.
    """

    names = ("Qwen2VLVideoProcessor",)
    part = "video_processor"
    file = VIDEO
    inputs = ("pixel_values_videos", "video_grid_thw")
    defaults = Qwen2VLVideoSettings(
        **vars(Qwen2VLImageProcessor.defaults)
        | {"size": Size(shortest_edge=128 * 28 * 28, longest_edge=28 * 28 * 768)}
    )

    def __call__(self, videos: Any, *, return_tensors: str | None = "pt", **given: Any) -> Features:
        """Process one video or several.

        Args:
            videos: one as a list of frames or an array [t, h, w, c] or [t, c, h, w], or a list of
                these.
            return_tensors, given: as for images.

        Raises:
            UsageError, WorkError: as for images; frames of one video that differ in size.
        """
        settings = self.settings_of_call(return_tensors, given)
        for key in ("do_sample_frames", "cap_pixels_per_frame"):
            if getattr(settings, key):
                raise UsageError(
                    f"{key} is not built",
                    where=key,
                    fix="choose the frames before, and set it to false",
                )
        made = [self._video(self.read(frames, settings), settings) for frames in each_video(videos)]
        return Features(
            pixel_values_videos=torch.cat([patches for patches, _ in made]),
            video_grid_thw=torch.tensor([grid for _, grid in made]),
        )

    def _video(
        self, frames: Sequence[Tensor], settings: Qwen2VLVideoSettings
    ) -> tuple[Tensor, tuple[int, int, int]]:
        if len({frame.shape for frame in frames}) > 1:
            raise WorkError("the frames of one video have different sizes", where="videos")
        made = []
        for frame in frames:
            made.append(framed(frame, settings))
            check_made(made[-1][0].numel() * len(frames), f"a video of {len(frames)} frames")
        lacking = -len(made) % settings.temporal_patch_size
        return patched(torch.stack(made + made[-1:] * lacking), settings)


def each_video(videos: Any) -> list[Any]:
    """One video or several as a list of videos, each with frames that `flat_images` takes.

    Raises:
        UsageError: there is none, or it is no video.
    """
    if isinstance(videos, np.ndarray | Tensor) and videos.ndim == 4:
        return [videos]
    if isinstance(videos, np.ndarray | Tensor) and videos.ndim == 5:
        return list(videos)
    if not isinstance(videos, list | tuple) or not videos:
        raise UsageError("there is no video", where="videos", fix="give the frames of one")
    first = videos[0]
    if isinstance(first, list | tuple) or getattr(first, "ndim", 0) == 4:
        return list(videos)
    return [videos]
