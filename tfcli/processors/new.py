"""The image processor of a model that is new."""

from __future__ import annotations

from typing import Any

from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.processors.images.size import Size
from tfcli.processors.registry import IMAGES_OF_MODEL_TYPE, find


def new_image_processor(config: BaseConfig) -> Any:
    """The processor of a model's family, with images of the model's size.

    Args:
        config: of a model that looks at images alone.

    Raises:
        UsageError: the family has none.
    """
    name = IMAGES_OF_MODEL_TYPE.get(config.model_type)
    if name is None:
        raise UsageError(
            f"nobody knows how {config.model_type} takes images",
            where="config.model_type",
            fix=f"one of {', '.join(IMAGES_OF_MODEL_TYPE)}",
        )
    made = find(name, "config.model_type")
    usual, side = made.defaults, getattr(config, "image_size", None)
    changed: dict[str, Any] = {"do_convert_rgb": True}
    if side is not None:
        for key in ("size", "crop_size"):
            held = getattr(usual, key)
            if held is not None:
                square = held.shortest_edge is None
                changed[key] = (
                    Size(height=side, width=side) if square else Size(shortest_edge=side)
                ).written()
    return made(**changed)
