"""Labels for a whole image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tfcli.models.errors import ModelError
from tfcli.models.layers.linear import linear
from tfcli.models.losses import classification_loss
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
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


class DistilledImageClassification(ImageClassification):
    """DeiT's two classifiers: of the first token, and of the one that learned from a teacher.

    Logits [b, labels] are the mean of `cls_logits` and `distillation_logits`. No loss is defined:
    it would need the teacher.
    """

    task = "distilled-image-classification"

    def add_head(self) -> None:
        width, labels = self.body.width(), self.config.num_labels
        self.cls_classifier = linear(width, labels, bias=True)
        self.distillation_classifier = linear(width, labels, bias=True)

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        if labels is not None:
            raise ModelError(
                "a classifier with a teacher has no loss of its own",
                fix="leave out labels, or train the task image-classification",
            )
        output.cls_logits = self.cls_classifier(x[:, 0])
        output.distillation_logits = self.distillation_classifier(x[:, 1])
        output.logits = (output.cls_logits + output.distillation_logits) / 2
