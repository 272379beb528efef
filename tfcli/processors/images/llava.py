"""LLaVA's image processor: CLIP's, with a border around images that are no squares on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tfcli.processors.features import Features
from tfcli.processors.images.clip import CLIPImageProcessor
from tfcli.processors.images.pad import pad_to_square
from tfcli.processors.images.processor import ImageProcessor, stacked, usual_steps
from tfcli.processors.images.settings import ImageSettings


@dataclass(frozen=True, kw_only=True)
class LlavaSettings(ImageSettings):
    """`do_pad` makes a square first, in the colour of `image_mean`."""

    needs_pad_size: ClassVar[bool] = False


class LlavaImageProcessor(ImageProcessor):
    """`pixel_values`, [b, 3, 224, 224]."""

    names = ("LlavaImageProcessor",)
    defaults = LlavaSettings(**vars(CLIPImageProcessor.defaults))

    def process(self, images: Sequence[Tensor], settings: LlavaSettings) -> Features:
        made = [
            usual_steps(bordered(image, settings) if settings.do_pad else image, settings)
            for image in images
        ]
        return Features(pixel_values=stacked(made))


def bordered(image: Tensor, settings: LlavaSettings) -> Tensor:
    """A square around an image of bytes, in the colour that becomes zeros, as far as bytes go."""
    mean = settings.image_mean or 0.0
    means = mean if isinstance(mean, tuple) else (mean,) * len(image)
    return pad_to_square(image, [int(each * 255) for each in means])
