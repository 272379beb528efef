"""The base of image processors: a file's settings, a call's over them, the usual steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.processors.features import Features
from tfcli.processors.images.crop import center_crop
from tfcli.processors.images.pad import pad_to
from tfcli.processors.images.pixels import flat_images, to_pixels
from tfcli.processors.images.resize import resize
from tfcli.processors.images.scale import normalize, rescale
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import check_made, exact, resized

CONFIG = "preprocessor_config.json"


class ImageProcessor:
    """Makes the tensors that a model takes of images.

    `processor(images, **settings)` gives `Features`. A setting of the call counts before the
    file's, and that before the class's own.

    Args:
        settings: over the class's own.

    Raises:
        UsageError: no such setting, or a value that does not fit.
    """

    defaults: ClassVar[ImageSettings] = ImageSettings()
    names: ClassVar[tuple[str, ...]] = ()
    """What files call it: first the name that is written, then older ones."""
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    """The names of what it gives."""

    settings: Any  # of the type of `defaults`
    others: dict[str, Any]
    """Keys of the file that are no settings: written back as they were."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.others = self.defaults.changed(settings), {}

    @classmethod
    def from_config(cls, values: Mapping[str, Any], where: str = CONFIG) -> Self:
        """A processor as a preprocessor_config.json says.

        Args:
            values: its content. where: the file, for errors.

        Raises:
            WorkError: a value that does not fit, or a key that changes images and is not built.
        """
        made = cls()
        made.settings, made.others = cls.defaults.read(values, where)
        return made

    def config(self) -> dict[str, Any]:
        """The content of a preprocessor_config.json that says all of it."""
        names = {"image_processor_type": self.names[0]} if self.names else {}
        older = ("feature_extractor_type", "image_processor_type")
        kept = {key: value for key, value in self.others.items() if key not in older}
        return {**kept, **self.settings.written(), **names}

    def save(self, folder: Path | str) -> None:
        """Write preprocessor_config.json into a folder that is there."""
        write_json(Path(folder) / CONFIG, self.config())

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
        if return_tensors not in (None, "pt"):
            raise UsageError(
                f"only tensors of torch are made, not {return_tensors!r}",
                where="return_tensors",
                fix="leave it out, and call .numpy() on what comes",
            )
        settings = self.settings.changed(given)
        return self.process(self.read(images, settings), settings)

    def read(self, images: Any, settings: ImageSettings) -> list[Tensor]:
        """Each image as its pixels, [c, h, w]."""
        return [
            to_pixels(
                image,
                convert_rgb=bool(settings.do_convert_rgb),
                layout=settings.input_data_format,
            )
            for image in flat_images(images)
        ]

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
