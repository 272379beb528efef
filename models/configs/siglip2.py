"""The configs of SigLIP 2 (transformers: Siglip2Config and those of its towers)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.siglip import PooledVisionConfig, SiglipConfig, SiglipTextConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.configs.vision import PatchConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Siglip2TextConfig(SiglipTextConfig):
    """SigLIP 2's tower for texts."""

    model_type: ClassVar[str] = "siglip2_text_model"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Siglip2VisionConfig(PooledVisionConfig):
    """SigLIP 2's tower for images of any shape.

    Args:
        num_patches: rows of the table of positions, those of a square of patches.
    """

    model_type: ClassVar[str] = "siglip2_vision_model"

    num_patches: int = 256

    def check(self) -> None:
        super().check()
        self.check_sizes("num_patches")
        side = math.isqrt(self.num_patches)
        require(
            side * side == self.num_patches,
            "num_patches",
            f"is {self.num_patches}, but positions are those of a square of patches; "
            f"the nearest squares are {side**2} and {(side + 1) ** 2}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Siglip2Config(SiglipConfig):
    """SigLIP 2."""

    model_type: ClassVar[str] = "siglip2"
    nested: ClassVar[dict[str, str]] = {
        "text_config": "siglip2_text_model",
        "vision_config": "siglip2_vision_model",
    }
    text_kind: ClassVar[type[TextConfig]] = Siglip2TextConfig
    vision_kind: ClassVar[type[PatchConfig]] = Siglip2VisionConfig
