"""What processors of images and of video share: settings of a file, and a call's over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.processors.features import Features
from tfcli.processors.folder import SINGLE, Part, find_part
from tfcli.processors.images.pixels import flat_images, to_pixels
from tfcli.processors.images.settings import ImageSettings


class VisionProcessor:
    """A processor with settings. Those of a call count before the file's, and they before its own.

    Args:
        settings: over the class's own.

    Raises:
        UsageError: no such setting, or a value that does not fit.
    """

    defaults: ClassVar[ImageSettings] = ImageSettings()
    names: ClassVar[tuple[str, ...]] = ()
    """What files call it: first the name that is written, then older ones."""
    part: ClassVar[Part] = "image_processor"
    file: ClassVar[str] = SINGLE
    """What has its settings: a part of processor_config.json, or a file by itself."""
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    """The names of what it gives."""

    __call__: Callable[..., Features]
    """`(images or videos, **settings) -> Features`"""

    settings: Any  # of the type of `defaults`
    others: dict[str, Any]
    """Keys of the file that are no settings: written back as they were."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.others = self.defaults.changed(settings), {}

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """The processor of a folder, whose settings are taken for this class's.

        Raises:
            WorkError: no settings, or as `from_config`.
        """
        found = find_part(folder, cls.part)
        if found is None:
            raise WorkError(f"there is no {cls.file}", where=str(folder))
        return cls.from_config(found.values, found.where)

    @classmethod
    def from_config(cls, values: Mapping[str, Any], where: str = SINGLE) -> Self:
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
        types = (f"{self.part}_type", "image_processor_type", "feature_extractor_type")
        kept = {key: value for key, value in self.others.items() if key not in types}
        return {**kept, **self.settings.written(), types[0]: self.names[0]}

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the settings into a folder, which is made where there is none."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / self.file, self.config())

    def settings_of_call(self, return_tensors: str | None, given: Mapping[str, Any]) -> Any:
        """The settings with those of a call.

        Raises:
            UsageError: no such setting, a value that does not fit, or no tensors of torch.
        """
        if return_tensors not in (None, "pt"):
            raise UsageError(
                f"only tensors of torch are made, not {return_tensors!r}",
                where="return_tensors",
                fix="leave it out, and call .numpy() on what comes",
            )
        return self.settings.changed(given)

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
