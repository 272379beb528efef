"""Image files as upright RGB images. What is in a file decides, not what the file is called."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tfcli.errors import WorkError
from tfcli.files import expanded, read_bounded
from tfcli.limits import MAX_IMAGE_FILE, MAX_PIXEL_GROWTH, MAX_PIXELS, MAX_SMALL_PIXELS

# Pillow has more readers: one starts another program (EPS), one finds its size too late (ICO).
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

_ORIENTATION = 0x0112  # the tag of EXIF, and what undoes each of its values
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source: Path | str | bytes) -> Image.Image:
    """An image file as transformers' `load_image` reads it: upright, RGB, the first frame.

    Transparency is dropped, not blended. Only 16-bit greys differ: they are scaled to 8 bits, where
    Pillow's own conversion makes everything but the darkest white.

    Args:
        source: a path, a file's bytes, or those in an address `data:image/...;base64,...`.

    Raises:
        WorkError: not an image of a format in `FORMATS`, damaged, or larger than the limits.
    """
    with _opened(source) as (image, where):
        image.load()
        return to_rgb(_upright(image), where, blend=False)


def check_image(source: Path | str | bytes) -> None:
    """Refuse what `read_image` refuses of a header; its pixels are not made.

    Raises:
        WorkError: as `read_image`, but for what is damaged behind the header.
    """
    with _opened(source):
        pass


@contextmanager
def _opened(source: Path | str | bytes) -> Iterator[tuple[Image.Image, str]]:
    """An image whose header alone is read, and what errors call it."""
    if isinstance(source, bytes):
        data, where = source, "an image given as bytes"
    else:
        where = str(source)[:200]
        held = _from_address(str(source))
        data = read_bounded(expanded(source), MAX_IMAGE_FILE) if held is None else held
    with (
        damage_is_an_error(where),
        Image.open(io.BytesIO(data), formats=FORMATS) as image,
    ):
        check_pixels(image, where, len(data))
        yield image, where


@contextmanager
def damage_is_an_error(where: str) -> Iterator[None]:
    """Within the block, what Pillow fails over is an error that names the image."""
    try:
        yield
    except (WorkError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise WorkError(
            "the file is not an image, or of a format that is not read",
            where=where,
            fix=f"formats that are read: {', '.join(FORMATS)}",
        ) from None
    except Image.DecompressionBombError as error:
        raise _too_large(str(error), where) from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise WorkError(
            f"the image is damaged: {str(error)[:200] or type(error).__name__}",
            where=where,
            fix="get the file again",
        ) from error


def check_pixels(image: Image.Image, where: str, size: int | None = None) -> None:
    """Refuse an image by its header, before its pixels are made.

    Args:
        size: bytes of its file; None where there is none, and the image is in memory already.

    Raises:
        WorkError: no pixels, or more than the limits.
    """
    pixels = image.width * image.height
    most = MAX_PIXELS if size is None else max(MAX_SMALL_PIXELS, size * MAX_PIXEL_GROWTH)
    if pixels < 1:
        raise WorkError(f"an image of {image.width} x {image.height} has no pixels", where=where)
    if pixels > min(most, MAX_PIXELS):
        raise _too_large(
            f"{image.width:,} x {image.height:,} pixels are more than the "
            f"{min(most, MAX_PIXELS):,} that are read"
            + ("" if size is None else f" from {size:,} bytes"),
            where,
        )


def to_rgb(image: Image.Image, where: str = "an image", *, blend: bool = True) -> Image.Image:
    """An image of any mode as RGB.

    Args:
        blend: lay what is transparent onto white, as transformers' `convert_to_rgb` does; else
            transparency is dropped.

    Raises:
        WorkError: pixels of 32 bits, of which nobody says how bright the brightest is.
    """
    if image.mode.startswith("I;16"):
        image = _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise WorkError(
            f"pixels of mode {image.mode!r} have no known brightest value",
            where=where,
            fix="save the image with 8 or 16 bits a channel",
        )
    if blend and ("A" in image.getbands() or image.info.get("transparency") is not None):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey values 0..65535 as 0..255, rounded."""
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _from_address(text: str) -> bytes | None:
    """The bytes that a `data:` address holds; None for a path.

    Raises:
        WorkError: no base64, or an address of another kind: nothing is fetched.
    """
    if text.startswith(("http:/", "https:/")):
        raise WorkError(
            "images are not fetched from addresses",
            where=text[:200],
            fix="download the file, and give its path or its bytes",
        )
    if not text.startswith("data:"):
        return None
    kind, _, content = text.partition(",")
    try:
        if not kind.endswith(";base64"):
            raise ValueError("it is not marked as base64")
        if len(content) > MAX_IMAGE_FILE:
            raise ValueError(f"it has more than {MAX_IMAGE_FILE:,} characters")
        return base64.b64decode(content, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise WorkError(
            f"the address holds no image: {error}",
            where=text[:40],
            fix='"data:image/png;base64,..."',
        ) from error


def _too_large(what: str, where: str) -> WorkError:
    return WorkError(
        f"the image is too large: {what}", where=where, fix="make it smaller with an image program"
    )
