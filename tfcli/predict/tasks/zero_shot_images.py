"""`zero-shot-image-classification`: which of any labels fits an image, by two towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from tfcli.models.config import BaseConfig
from tfcli.models.heads.contrastive import Contrastive, unit
from tfcli.predict.heads import require_head
from tfcli.predict.media import medium_of, pixels_of
from tfcli.predict.options.media import ZeroShotImageOptions
from tfcli.predict.scores import ranked
from tfcli.predict.task import Sample, Task, require_finite
from tfcli.predict.texts import labels_of

KEPT = 64
"""Lists of labels whose vectors are kept."""
INDEPENDENT = ("siglip", "siglip2")
"""Families that were trained to judge each pair by itself, on texts of 64 tokens."""
_FIXED = {"padding": "max_length", "max_length": 64, "truncation": True}


class ZeroShotImageClassification(Task[ZeroShotImageOptions]):
    """A row has an `image`, and may have `candidate_labels` of its own. The vectors of labels are
    made once for all images that have the same."""

    name = "zero-shot-image-classification"
    inputs = ("image",)
    optional = ("candidate_labels",)
    options_class = ZeroShotImageOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, "contrastive")

    def prepare(self) -> None:
        self.vectors = lru_cache(KEPT)(self._vectors)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        labels = labels_of(row, self.options.candidate_labels)
        return [Sample(pixels_of(self.parts, medium_of(row, "image")), tuple(labels))]

    def forward(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        """The vector of each image, of length 1."""
        vectors = unit(self._model.get_image_features(**batch).pooler_output)
        return require_finite(vectors, self.parts.name).unbind(0)

    @property
    def _model(self) -> Contrastive:
        model = self.parts.model
        assert isinstance(model, Contrastive), "the task's head"
        return model

    @property
    def _independent(self) -> bool:
        return self.parts.config.model_type in INDEPENDENT

    def _vectors(self, labels: tuple[str, ...]) -> Tensor:
        """The vectors of labels' texts, [labels, d], of length 1."""
        texts = [self.options.hypothesis_template.format(label) for label in labels]
        fixed = _FIXED if self._independent else {"padding": True}
        inputs = self.parts.processor(text=texts, **fixed).to(self.parts.device)
        with torch.inference_mode():
            return unit(self._model.get_text_features(**inputs).pooler_output)

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        labels = samples[0].about
        with torch.inference_mode():
            logits = self._model.body.compared(self.vectors(labels), outputs[0][None])[:, 0]
        logits = logits.float().cpu()
        scores = logits.sigmoid() if self._independent else logits.softmax(-1)
        return ranked(scores, list(labels), None)
