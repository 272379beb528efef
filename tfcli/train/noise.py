"""Noise on embeddings while training (NEFTune, Jain et al. 2023), as transformers' Trainer adds."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.models.model import Model


def add_noise(model: Model, alpha: float) -> None:
    """From now on each token's vector gets noise from [-a, a] in training, where a is alpha over
    the root of a row's numbers: length times width.

    Args:
        model: with a table of tokens; its weights and what it computes in eval mode stay.
        alpha: how much noise.
    """

    def noisy(module: nn.Module, inputs: Any, vectors: Tensor) -> Tensor:
        if not model.training:
            return vectors
        reach = alpha / math.sqrt(vectors.shape[-2] * vectors.shape[-1])
        return vectors + torch.empty_like(vectors).uniform_(-reach, reach)

    model.body.get_submodule(model.body.tokens).register_forward_hook(noisy)
