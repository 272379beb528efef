"""LLaVA-NeXT's config (transformers: LlavaNextConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.llava import LlavaConfig
from tfcli.models.configs.vision import VisionConfig

_PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlavaNextConfig(LlavaConfig):
    """LLaVA 1.6: images of any resolution.

    Args:
        image_grid_pinpoints: heights and widths that images are brought to and cut into tiles at.
    """

    model_type: ClassVar[str] = "llava_next"

    vision_config: VisionConfig
    image_grid_pinpoints: list[Any] = dataclasses.field(default_factory=lambda: list(_PINPOINTS))

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("image_grid_pinpoints", ()) is None:
            del data["image_grid_pinpoints"]
        return super().read_keys(data)

    def check(self) -> None:
        super().check()
        vision, key = self.vision_config, "image_grid_pinpoints"
        require(
            isinstance(vision, VisionConfig),
            "vision_config",
            f"is that of {vision.model_type}, which takes no tiles of one size",
        )
        require(bool(self.image_grid_pinpoints), key, "names no resolution")
        for pinpoint in self.image_grid_pinpoints:
            sizes = isinstance(pinpoint, (list, tuple)) and len(pinpoint) == 2
            sizes = sizes and all(type(side) is int and side >= 1 for side in pinpoint)
            require(sizes, key, f"has {pinpoint!r}: each must be a height and a width")
            require(
                all(side % vision.image_size == 0 for side in pinpoint),
                key,
                f"has {list(pinpoint)}, whose sides are no multiples of vision_config.image_size "
                f"({vision.image_size})",
            )
