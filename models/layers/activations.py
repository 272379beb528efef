"""Activation functions by their config.json name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from tfcli.models.errors import ModelError

Activation = Callable[[torch.Tensor], torch.Tensor]

_gelu_tanh: Activation = partial(F.gelu, approximate="tanh")


def _quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


def _relu2(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()


# The names are those of transformers. gelu_new and gelu_fast spell out the tanh formula that
# torch has as one kernel.
_TABLE: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
    "relu": F.relu,
    "relu2": _relu2,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


def activation(name: str) -> Activation:
    """The function for a config's `hidden_act`.

    Raises:
        ModelError: no such activation; a config refuses it earlier.
    """
    if name not in _TABLE:
        raise ModelError(f"unknown activation {name!r}", fix=f"known: {', '.join(_TABLE)}")
    return _TABLE[name]
