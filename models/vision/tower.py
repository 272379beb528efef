"""The base of what looks at images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch

from tfcli.models.backbone import Backbone
from tfcli.models.configs.vision import PatchConfig

V = TypeVar("V", bound=PatchConfig)


class VisionBackbone(Backbone[V]):
    """A transformer over the patches of an image, behind tokens that stand for the whole image."""

    main = "pixel_values"
    inputs: ClassVar[tuple[str, ...]] = ("interpolate_pos_encoding",)
    packs = False

    @property
    def leading(self) -> int:
        """Tokens before the patches."""
        return 1

    def summary(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """What a classifier of images gets.

        Args:
            x (Tensor): [b, s, d], the states.
            inputs: of the forward pass.

        Returns:
            [b, summary_width]; the state of the first token, unless the family has another
        """
        return x[:, 0]

    @property
    def summary_width(self) -> int:
        """Size of a summary."""
        return self.width()
