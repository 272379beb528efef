"""From a classifier's logits to labels with scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tfcli.models.config import BaseConfig


def usual_function(config: BaseConfig) -> str:
    """What makes scores of the logits of a model: by its problem_type, else by its labels."""
    if config.problem_type == "regression":
        return "none"
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return "sigmoid"
    return "softmax"


def scores_of(logits: Tensor, function: str) -> Tensor:
    """Scores of logits [..., labels] by `sigmoid`, `softmax` or `none`."""
    if function == "none":
        return logits
    return torch.sigmoid(logits) if function == "sigmoid" else logits.softmax(-1)


def ranked(scores: Tensor, labels: list[str], top_k: int | None) -> list[dict[str, Any]]:
    """The best labels with their scores [labels], the first one first; None: all."""
    pairs = sorted(zip(scores.tolist(), labels, strict=True), key=lambda pair: -pair[0])
    return [{"label": label, "score": score} for score, label in pairs[:top_k]]


def best_or_all(found: list[dict[str, Any]], top_k: int | None) -> Any:
    """The best alone where one is asked for, else the list."""
    return found[0] if top_k == 1 else found
