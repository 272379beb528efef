"""Pictures to process: drawn, photographed digits, odd sizes, grey, transparent, tall and wide."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits


def drawn(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Circles, lines and a slope of colour; no two parts alike."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([x, y, (x + y) / 2], -1).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width // 8, height // 8, width // 2, height // 2), fill=(250, 20, 40))
    draw.line((0, height, width, 0), fill=(10, 240, 90), width=max(1, min(width, height) // 20))
    draw.rectangle((width // 2, height // 2, width - 2, height - 2), outline=(0, 0, 255))
    if mode == "RGBA":
        image.putalpha(Image.fromarray(((x + 255 - y) / 2).astype(np.uint8)))
    return image.convert(mode)


def digit(number: int) -> Image.Image:
    """A digit that somebody wrote, 8 × 8 greys."""
    return Image.fromarray((load_digits().images[number] * 15).astype(np.uint8))


@cache
def colourful() -> dict[str, Image.Image]:
    """Images of three channels, by what is particular about them."""
    return {
        "photo": drawn(320, 240),
        "odd": drawn(97, 131),
        "tall": drawn(40, 410),
        "wide": drawn(530, 37),
        "long": drawn(95, 35),
        "small": drawn(15, 11),
        "square": drawn(64, 64),
        "digit": digit(3).convert("RGB"),
    }


@cache
def of_every_mode() -> dict[str, Image.Image]:
    """Images of other modes, which have to be converted."""
    return {
        "grey": drawn(120, 80, "L"),
        "digit": digit(7),
        "transparent": drawn(91, 70, "RGBA"),
        "transparent grey": drawn(91, 70, "LA"),
        "palette": drawn(60, 90).quantize(32),
        "ink": drawn(60, 90, "CMYK"),
        "bits": drawn(60, 90, "1"),
    }
