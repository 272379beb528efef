"""The base of image processors: the usual steps, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.processors.features import Features
from tfcli.processors.images.base import VisionProcessor
from tfcli.processors.images.crop import center_crop
from tfcli.processors.images.pad import pad_to
from tfcli.processors.images.resize import resize
from tfcli.processors.images.scale import normalize, rescale
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import check_made, exact, resized


class ImageProcessor(VisionProcessor):
    """Makes the tensors that a model takes of images."""

    def __call__(self, images: Any, *, return_tensors: str | None = "pt", **given: Any) -> Features:
        """Process one image or several.

        Args:
            images: as in `flat_images`; lists in lists are taken for one list.
            return_tensors: only "pt", which other code says to other processors.
            given: settings for this call.

        Raises:
            UsageError: no such setting, or what is no image.
            WorkError: an image that cannot be read, or that the settings do not fit.
        """
        settings = self.settings_of_call(return_tensors, given)
        return self.process(self.read(images, settings), settings)

    def process(self, images: Sequence[Tensor], settings: Any) -> Features:
        """What is made of pixels; here `pixel_values`, [b, c, h, w].

        Raises:
            WorkError: the images end up with different sizes.
        """
        made = [usual_steps(image, settings) for image in images]
        if settings.do_pad:
            made = [pad_to(image, exact(settings.pad_size, "pad_size")) for image in made]
        return Features(pixel_values=stacked(made))


def usual_steps(image: Tensor, settings: ImageSettings) -> Tensor:
    """Resize, crop, rescale and normalise an image [c, h, w], each where the settings say so."""
    if settings.do_resize and settings.size is not None:
        image = resize(image, resized(settings.size, *image.shape[-2:]), settings.resample or 0)
    if settings.do_center_crop and settings.crop_size is not None:
        image = center_crop(image, exact(settings.crop_size, "crop_size"))
    return scaled(image, settings)


def steps_of_parts(parts: Sequence[Tensor], settings: ImageSettings) -> list[Tensor]:
    """`usual_steps` of each of several parts of one image, within the limits of one."""
    made: list[Tensor] = []
    for part in parts:
        made.append(usual_steps(part, settings))
        check_made(made[-1][0].numel() * len(parts), f"processing {len(parts)} parts")
    return made


def scaled(image: Tensor, settings: ImageSettings) -> Tensor:
    """Rescale and normalise an image [c, h, w], each where the settings say so."""
    if settings.do_rescale:
        image = rescale(image, settings.rescale_factor or 0.0)
    if settings.do_normalize:
        mean, std = settings.image_mean, settings.image_std
        assert mean is not None and std is not None  # `check` has seen to it
        image = normalize(image, mean, std)
    return image


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Images of one size as a batch.

    Raises:
        WorkError: their sizes differ.
    """
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        sizes = ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes)[:4])
        raise WorkError(
            f"the images of one call end up with different shapes: {sizes}",
            fix="resize or crop them to one height and width, or process them one by one",
        )
    return torch.stack(list(images))
