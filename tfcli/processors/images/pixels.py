"""Images of any kind as tensors of pixels, channels first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.processors.images.read import check_pixels, damage_is_an_error, read_image, to_rgb

CHANNELS = (1, 3, 4)
LAYOUTS = ("channels_first", "channels_last")
# Modes of Pillow whose numbers are what they seem; others are places in a palette, ink or bits.
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA")


def flat_images(images: Any) -> list[Any]:
    """One image, a batch of them in one array, or lists of these in lists, as one list.

    Args:
        images: paths, files' bytes, Pillow's images, arrays or tensors: [h, w], [c, h, w],
            [h, w, c], or four dimensions for several.

    Raises:
        UsageError: there is none, or something else among them.
    """
    found = list(_each(images, "images"))
    if not found:
        raise UsageError("there is no image", where="images")
    return found


def _each(images: Any, where: str) -> Iterator[Any]:
    if isinstance(images, list | tuple):
        for at, image in enumerate(images):
            yield from _each(image, f"{where}[{at}]")
    elif isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        yield from images
    elif isinstance(images, str | Path | bytes | Image.Image | np.ndarray | Tensor):
        yield images
    else:
        raise UsageError(
            f"a value of type {type(images).__name__} is no image",
            where=where,
            fix="give a path, the bytes of a file, an image of Pillow, an array or a tensor",
        )


def to_pixels(image: Any, *, convert_rgb: bool, layout: str | None = None) -> Tensor:
    """An image as a tensor [c, h, w]: bytes as they are, numbers with fractions as float32.

    A path or a file's bytes are read as RGB (`read_image`). Other images are taken as they are, an
    image of Pillow without being turned as its EXIF says, as transformers takes them.

    Args:
        image: one of `flat_images`.
        convert_rgb: make three channels of one or four, transparency laid onto white.
        layout: of arrays and tensors, one of `LAYOUTS`; None finds it by the number of channels,
            and takes the first dimension where both could be it.

    Raises:
        UsageError: a shape or a mode that is no image's.
        WorkError: as `read_image` does.
    """
    if isinstance(image, str | Path | bytes):
        return _from_pillow(read_image(image))
    if isinstance(image, Image.Image):
        check_pixels(image, "an image of Pillow")
        with damage_is_an_error("an image of Pillow"):
            image.load()  # one that was opened, and not read yet
        if convert_rgb:
            return _from_pillow(to_rgb(image))
        if image.mode not in _PLAIN_MODES:
            raise UsageError(
                f"an image of mode {image.mode!r} has to be converted to RGB",
                fix="set do_convert_rgb, or convert it before",
            )
        return _from_pillow(image)
    pixels = _from_array(image, layout)
    return _three_channels(pixels) if convert_rgb else pixels


def _from_pillow(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def _from_array(image: np.ndarray[Any, Any] | Tensor, layout: str | None) -> Tensor:
    if isinstance(image, np.ndarray):
        if image.dtype.kind not in "uif":
            raise UsageError(f"an array of {image.dtype} is no image", where="images")
        wide = image.dtype.kind == "u" and image.itemsize > 1  # torch can do little with these
        native = image.dtype.newbyteorder("=")
        image = torch.from_numpy(image.astype(np.int64 if wide else native))
    image = image.detach().cpu()
    if image.dtype == torch.bool or image.is_complex() or not image.numel():
        raise UsageError(
            f"a tensor of {image.dtype} and shape {list(image.shape)} is no image", where="images"
        )
    image = image.float() if image.is_floating_point() else image
    if image.ndim == 2:
        return image[None]
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"{layout!r} is none of {', '.join(LAYOUTS)}", where="input_data_format")
    if image.ndim == 3 and layout is None:
        ends = [end for end, at in zip(LAYOUTS, (0, 2), strict=True) if image.shape[at] in CHANNELS]
        layout = ends[0] if ends else None
    if image.ndim != 3 or layout is None:
        raise UsageError(
            f"the shape {list(image.shape)} is no image's",
            where="images",
            fix="an image has height, width and 1, 3 or 4 channels, first or last; with another "
            "number of channels, say input_data_format",
        )
    return image if layout == "channels_first" else image.permute(2, 0, 1)


def _three_channels(pixels: Tensor) -> Tensor:
    """Grey as three equal channels, four blended onto white; any other number stays."""
    if len(pixels) == 1:
        return pixels.expand(3, -1, -1)
    if len(pixels) != 4:
        return pixels
    whole = not pixels.is_floating_point()
    if not whole and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise UsageError(
            "transparency of an image with fractions must be between 0 and 1, as its colours",
            where="images",
        )
    white = 255.0 if whole else 1.0
    alpha = pixels[3:].double() / white
    blended = alpha * pixels[:3] + (1 - alpha) * white
    return (blended.round() if whole else blended).to(pixels.dtype)
