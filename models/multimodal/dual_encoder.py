"""Two towers side by side, one for images and one for texts: the base of CLIP and its like."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import torch

from tfcli.models.backbone import Backbone
from tfcli.models.config import BaseConfig
from tfcli.models.configs.dual_encoder import DualEncoderConfig
from tfcli.models.registry import get_family

D = TypeVar("D", bound=DualEncoderConfig)


class DualEncoder(Backbone[D]):
    """The towers and how their vectors are compared. A head runs them; see `Contrastive`."""

    packs = False
    parts: ClassVar[dict[str, str]] = {
        "text_model": "text_config",
        "vision_model": "vision_config",
    }

    text_model: Backbone[Any]
    vision_model: Backbone[Any]

    def __init__(self, config: D, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.text_model = self.make_part("text_config")
        self.vision_model = self.make_part("vision_config")

    def projected_image(self, pooled: torch.Tensor) -> torch.Tensor:
        """A pooled state in the space that both towers share: [images, d] -> [images, width]"""
        return pooled

    def projected_text(self, pooled: torch.Tensor) -> torch.Tensor:
        """The same of a text: [texts, d] -> [texts, width]"""
        return pooled

    def compared(self, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """How well each text fits each image.

        Args:
            text (Tensor): [texts, width], of length 1.
            image (Tensor): [images, width], of length 1.

        Returns:
            [texts, images]
        """
        raise TypeError(f"{type(self).__name__} compares nothing")

    def pair_loss(self, logits: torch.Tensor) -> torch.Tensor:
        """The loss of n pairs.

        Args:
            logits (Tensor): [n, n], of texts and images; text i belongs to image i.

        Returns:
            []
        """
        raise TypeError(f"{type(self).__name__} has no loss")

    @classmethod
    def tokens_of(cls, config: BaseConfig) -> str:
        text = config.text
        return f"text_model.{get_family(text.model_type).backbone_class().tokens_of(text)}"
