"""Image files of every kind, and what is refused."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from transformers.image_utils import load_image

from tests.processors.images.pictures import drawn
from tfcli.errors import UsageError, WorkError
from tfcli.limits import MAX_SMALL_PIXELS
from tfcli.processors.images.pixels import to_pixels
from tfcli.processors.images.read import read_image


def stored(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def turned(orientation, format="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(drawn(40, 24), format, exif=exif)


FILES = {
    "jpeg": stored(drawn(50, 31), "JPEG"),
    "grey jpeg": stored(drawn(50, 31, "L"), "JPEG"),
    "cmyk jpeg": stored(drawn(50, 31, "CMYK"), "JPEG"),
    "cmyk tiff": stored(drawn(50, 31, "CMYK"), "TIFF"),
    "png": stored(drawn(50, 31), "PNG"),
    "transparent png": stored(drawn(50, 31, "RGBA"), "PNG"),
    "palette": stored(drawn(50, 31).quantize(16), "PNG"),
    "palette with transparency": stored(drawn(50, 31).quantize(16), "PNG", transparency=3),
    "one colour transparent": stored(drawn(50, 31), "PNG", transparency=(0, 0, 0)),
    "black and white": stored(drawn(50, 31, "1"), "PNG"),
    "bmp": stored(drawn(50, 31), "BMP"),
    "webp": stored(drawn(50, 31, "RGBA"), "WEBP"),
    "avif": stored(drawn(50, 31), "AVIF"),
    "jpeg 2000": stored(drawn(50, 31), "JPEG2000"),
    "ppm": stored(drawn(50, 31), "PPM"),
    "lab tiff": stored(drawn(50, 31).convert("YCbCr"), "TIFF"),
    **{
        f"animated {format}": stored(
            drawn(50, 31), format, save_all=True, append_images=[drawn(50, 31).rotate(90)]
        )
        for format in ("GIF", "PNG", "WEBP")
    },
    **{f"turned {n}": turned(n) for n in range(1, 9)},
    "turned png": turned(6, "PNG"),
    "turned webp": turned(8, "WEBP"),
    "turned to nowhere": turned(77),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_transformers_does(name, tmp_path):
    """What it is called says nothing."""
    path = tmp_path / "picture.txt"
    path.write_bytes(FILES[name])
    expected = np.asarray(load_image(str(path)))
    for source in (path, str(path), FILES[name]):
        found = read_image(source)
        assert found.mode == "RGB"
        assert np.array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled(format):
    """Pillow's own conversion, which transformers uses, makes nearly all of them white."""
    values = np.array([[0, 128, 129, 257 * 7, 40_000, 65_535]], np.uint16)
    data = stored(Image.fromarray(values), format)
    expected = np.round(values / 257)
    assert np.array_equal(np.asarray(read_image(data))[..., 0], expected)
    opened = to_pixels(Image.open(io.BytesIO(data)), convert_rgb=True)
    assert np.array_equal(opened[1].numpy(), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_have_no_known_white(dtype):
    data = stored(Image.fromarray(np.arange(12, dtype=dtype).reshape(3, 4)), "TIFF")
    with pytest.raises(WorkError, match="no known brightest value"):
        read_image(data)


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width, height, data=b"", extra=b""):
    """A PNG of grey pixels whose header says that size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    packed = chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + header + extra + packed + chunk(b"IEND", b"")


HOSTILE = {
    "empty": (b"", "not an image"),
    "text": (b"hello there" * 10, "not an image"),
    "pdf": (b"%PDF-1.7\n", "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    "icon": (stored(drawn(16, 16), "ICO"), "not an image"),
    "page": (b"<html><body>404</body></html>", "a web page"),
    "no pixels": (png(0, 5), "damaged|no pixels|not an image"),
    "huge": (png(1 << 31, 1 << 31), "damaged|too large|not an image"),
    "wide": (png((1 << 31) - 1, 1), "too large"),
    "beyond pillow's limit": (png(60_000, 60_000), "too large"),
    "beyond ours": (png(9_000, 9_000), "too large"),
    "bomb": (png(6_000, 6_000, bytes(6_000 * 6_001)), "too large"),
    "bomb of text": (
        png(9, 9, bytes(90), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
        "damaged",
    ),
    "cut jpeg": (FILES["jpeg"][:400], "damaged"),
    "cut png": (FILES["png"][:-200], "damaged"),
    "cut gif": (FILES["animated GIF"][:300], "damaged|not an image"),
    "cut webp": (FILES["webp"][:100], "damaged|not an image"),
    "cut avif": (FILES["avif"][:300], "damaged|not an image"),
    "cut header": (FILES["jpeg"][:20], "damaged|not an image"),
    "wrong checksum": (FILES["png"][:50] + b"\0" + FILES["png"][51:], "damaged|not an image"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_sound_image_is_refused(name, tmp_path):
    data, words = HOSTILE[name]
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(WorkError, match=words) as caught:
        read_image(path)
    assert caught.value.where == str(path) and caught.value.fix


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damage_anywhere_is_an_error_of_ours_or_a_picture():
    """Each format, with bytes changed and with its end cut off."""
    rng = np.random.default_rng(0)
    for name in (
        "jpeg",
        "png",
        "animated GIF",
        "webp",
        "bmp",
        "cmyk tiff",
        "jpeg 2000",
        "turned 6",
    ):
        for _ in range(12):
            data = bytearray(FILES[name])
            for _ in range(4):
                data[rng.integers(len(data))] = rng.integers(256)
            try:
                read_image(bytes(data[: rng.integers(20, len(data) + 1)]))
            except WorkError as error:
                assert error.fix


BOUNDED = """
import sys, re
from tfcli.errors import WorkError
from tfcli.processors.images.read import read_image
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
before = peak()
try:
    read_image(sys.argv[1])
    print("read", peak() - before)
except WorkError as error:
    print("refused", peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "answer"),
    [("bomb", "refused"), ("bomb of text", "refused"), ("wide", "refused"), ("largest", "read")],
)
def test_in_bounded_memory(name, answer, tmp_path):
    side = int(MAX_SMALL_PIXELS**0.5)
    largest = png(side, side, bytes(side * (side + 1)))
    path = tmp_path / "picture.png"
    path.write_bytes(largest if name == "largest" else HOSTILE[name][0])
    assert path.stat().st_size < 100_000
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BOUNDED, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    said, peak = ran.stdout.split()
    assert said == answer
    assert int(peak) < 300_000_000


def test_what_is_no_file(tmp_path):
    with pytest.raises(WorkError, match="there is no picture"):
        read_image(tmp_path / "picture.png")
    with pytest.raises(WorkError, match="not a regular file"):
        read_image(tmp_path)
    with pytest.raises(WorkError, match="not fetched"):
        read_image("https://example.org/a.png")
    for address in (
        "data:image/png,AAAA",
        "data:image/png;base64,AAA",
        "data:image/png;base64,AA?A",
    ):
        with pytest.raises(WorkError, match="holds no image"):
            read_image(address)


def test_an_address_that_holds_its_image():
    text = base64.b64encode(FILES["jpeg"]).decode()
    found = np.asarray(read_image(f"data:image/jpeg;base64,{text}"))
    assert np.array_equal(found, np.asarray(read_image(FILES["jpeg"])))


def test_an_open_image_is_taken_as_it_is():
    """As transformers does, which turns what it reads and not what it is given."""
    image = Image.open(io.BytesIO(turned(6)))
    assert to_pixels(image, convert_rgb=True).shape == (3, 24, 40)
    with pytest.raises(WorkError, match="damaged"):
        to_pixels(Image.open(io.BytesIO(HOSTILE["cut png"][0])), convert_rgb=True)
    with pytest.raises(UsageError, match="mode 'I;16'"):
        to_pixels(Image.new("I;16", (3, 3)), convert_rgb=False)
