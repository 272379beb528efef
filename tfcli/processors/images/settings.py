"""What a preprocessor_config.json says of images, and what a call says instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self, get_type_hints

from pydantic import TypeAdapter

from tfcli.checkpoints.typed_json import fitting
from tfcli.errors import UsageError, WorkError, hint
from tfcli.processors.images.pixels import LAYOUTS
from tfcli.processors.images.resize import BILINEAR, HAMMING, NEAREST
from tfcli.processors.images.size import Size, read_size

_SIZES = ("size", "crop_size", "pad_size")
# Keys of other processors that change the picture. transformers ignores them where they stand
# beside a processor that has not got them; whoever wrote them expects something of them.
_NOT_BUILT = (
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


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
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

    needs_size: ClassVar[bool] = True
    """Resizing follows `size`; else the processor finds it from the image."""
    needs_pad_size: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse values that contradict each other; a family's own come after these.

        Raises:
            WorkError: naming the key.
        """
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
        """Values as the fields have them, from any of the spellings that files and calls use."""
        square = values.get("default_to_square", self.default_to_square)
        for key in _SIZES:
            if key in values:
                values[key] = read_size(values[key], key, square=key != "size" or bool(square))
        return {key: _hashable(value) for key, value in values.items()}

    def written(self) -> dict[str, Any]:
        """Every setting that is not None, as a preprocessor_config.json has it."""
        found = {key: getattr(self, key) for key in _names(type(self))}
        return {key: _plain(value) for key, value in found.items() if value is not None}

    def read(self, values: Mapping[str, Any], where: str) -> tuple[Self, dict[str, Any]]:
        """These settings with those of a file, and the file's keys that are none.

        Args:
            values: the file's content; a null says nothing.
            where: the file, for errors.

        Raises:
            WorkError: a value of the wrong type, values that contradict each other, or a key that
                changes images in a way that is not built.
        """
        names = _names(type(self))
        for key in _NOT_BUILT:
            if values.get(key) and key not in names:
                raise WorkError(
                    f"{key} changes images in a way that this processor does not have",
                    where=where,
                    fix="process images with a processor that has it, or take the key out",
                )
        own = {key: one for key, one in values.items() if key in names and one is not None}
        others = {key: one for key, one in values.items() if key not in names}
        try:
            return self._with(own), others
        except WorkError as error:
            raise WorkError(error.what, where=f"{where}, {error.where}", fix=error.fix) from error

    def changed(self, given: Mapping[str, Any]) -> Self:
        """These settings with those of a call, of which None counts too.

        Raises:
            UsageError: no such setting, or a value that does not fit.
        """
        names = _names(type(self))
        for key in given:
            if key not in names:
                raise UsageError(f"there is no setting {key!r}", fix=hint(key, names))
        try:
            return self._with(dict(given)) if given else self
        except WorkError as error:
            raise UsageError(error.what, where=error.where, fix=error.fix) from error

    def _with(self, values: dict[str, Any]) -> Self:
        hints = get_type_hints(type(self))
        values = {
            key: fitting(_adapter(hints[key]), value, where=key)
            for key, value in self.spelled(values).items()
        }
        made = dataclasses.replace(self, **values)
        made.check()
        return made


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Size):
        return value.written()
    return list(map(_plain, value)) if isinstance(value, tuple) else value
