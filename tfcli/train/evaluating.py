"""A model that is trained, while it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within it a model is in eval mode; then it is as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
