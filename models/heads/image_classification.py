"""Labels for a whole image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tfcli.models.layers.linear import linear
from tfcli.models.losses import classification_loss
from tfcli.models.model import Model
from tfcli.models.vision.tower import VisionBackbone


class ImageClassification(Model):
    """One linear on the backbone's summary of an image. Logits [b, labels].

    `labels` are those of `losses.classification_loss`.
    """

    task = "image-classification"

    @property
    def body(self) -> VisionBackbone[Any]:
        body: VisionBackbone[Any] = getattr(self, self.base())
        return body

    def add_head(self) -> None:
        self.classifier = linear(self.body.summary_width, self.config.num_labels, bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.classifier(self.body.summary(x, inputs))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        return classification_loss(logits, labels, self.config.problem_type, **more)
