"""What a preprocessor_config.json says of images, and what a call says instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tfcli.errors import WorkError
from tfcli.processors.images.pixels import LAYOUTS
from tfcli.processors.images.resize import BILINEAR, HAMMING, NEAREST
from tfcli.processors.images.size import Size, read_size
from tfcli.processors.settings import Settings

_SIZES = ("size", "crop_size", "pad_size")


@dataclass(frozen=True, kw_only=True)
class ImageSettings(Settings):
    """The keys that every image processor has. Values of None are as False, or not given.

    Args:
        do_convert_rgb: make three channels of any image, transparency laid onto white.
        do_resize: to `size`, by Pillow's filter number `resample`.
        default_to_square: a `size` of one number is a square; else it is the shorter side.
        do_center_crop: to `crop_size`, padded with zeros where an image is smaller.
        do_rescale: every value times `rescale_factor`.
        do_normalize: each channel less `image_mean`, divided by `image_std`.
        do_pad: zeros at the right and the bottom up to `pad_size`.
        input_data_format: whether channels of arrays are the first or the last dimension; None
            finds it.
    """

    do_convert_rgb: bool | None = None
    do_resize: bool | None = None
    size: Size | None = None
    default_to_square: bool | None = True
    resample: int | None = BILINEAR
    do_center_crop: bool | None = None
    crop_size: Size | None = None
    do_rescale: bool | None = None
    rescale_factor: float | None = 1 / 255
    do_normalize: bool | None = None
    image_mean: float | tuple[float, ...] | None = None
    image_std: float | tuple[float, ...] | None = None
    do_pad: bool | None = None
    pad_size: Size | None = None
    input_data_format: str | None = None

    # transformers ignores these where they stand beside a processor that has not got them; whoever
    # wrote them expects something of them.
    not_built: ClassVar[tuple[str, ...]] = (
        "crop_pct",
        "do_affine_transform",
        "do_align_long_axis",
        "do_flip_channel_order",
        "do_image_splitting",
        "do_reduce_labels",
        "do_thumbnail",
        "size_divisor",
        "use_square_size",
    )
    needs_size: ClassVar[bool] = True
    """Resizing follows `size`; else the processor finds it from the image."""
    needs_pad_size: ClassVar[bool] = True

    def check(self) -> None:
        needed = {
            "size": self.do_resize and self.needs_size,
            "resample": self.do_resize,
            "crop_size": self.do_center_crop,
            "rescale_factor": self.do_rescale,
            "image_mean": self.do_normalize,
            "image_std": self.do_normalize,
            "pad_size": self.do_pad and self.needs_pad_size,
        }
        for key, is_needed in needed.items():
            if is_needed and getattr(self, key) is None:
                raise WorkError("is not given, and is needed for what is to be done", where=key)
        if self.resample is not None and not NEAREST <= self.resample <= HAMMING:
            raise WorkError(
                f"{self.resample} is no filter; 0 to {HAMMING} are Pillow's", where="resample"
            )
        stds = self.image_std if isinstance(self.image_std, tuple) else (self.image_std,)
        if 0 in stds:
            raise WorkError("a standard deviation is 0", where="image_std")
        if self.input_data_format not in (None, *LAYOUTS):
            raise WorkError(
                f"{self.input_data_format!r} is none of {', '.join(LAYOUTS)}",
                where="input_data_format",
            )

    def spelled(self, values: dict[str, Any]) -> dict[str, Any]:
        square = values.get("default_to_square", self.default_to_square)
        for key in _SIZES:
            if key in values:
                values[key] = read_size(values[key], key, square=key != "size" or bool(square))
        return super().spelled(values)
