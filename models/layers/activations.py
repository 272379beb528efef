"""Activation functions by their config.json name."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from tfcli.models.errors import ModelError

Activation = Callable[[torch.Tensor], torch.Tensor]

_gelu_tanh: Activation = partial(F.gelu, approximate="tanh")


def _gelu_10(x: torch.Tensor) -> torch.Tensor:
    """For quantized models: what is negative has few values (Wu et al. 2020)."""
    return F.gelu(x).clamp(-10, 10)


def _laplace(x: torch.Tensor) -> torch.Tensor:
    """The normal distribution's function with the mean and deviation of Mega (Ma et al. 2022)."""
    return 0.5 * (1 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2))))


def _linear(x: torch.Tensor) -> torch.Tensor:
    return x


def _quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


def _relu2(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()


def _sqrt_softplus(x: torch.Tensor) -> torch.Tensor:
    return F.softplus(x).sqrt()


# The names are those of transformers. Several spell out a formula that torch has as one kernel.
# prelu and xielu are not among them: they have parameters, which a checkpoint holds, so they are
# modules of the family that uses them.
_TABLE: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_10": _gelu_10,
    "gelu_accurate": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_python": F.gelu,
    "gelu_python_tanh": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "hardswish": F.hardswish,
    "laplace": _laplace,
    "leaky_relu": F.leaky_relu,
    "linear": _linear,
    "mish": F.mish,
    "quick_gelu": _quick_gelu,
    "relu": F.relu,
    "relu2": _relu2,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "sqrtsoftplus": _sqrt_softplus,
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


def is_homogeneous(act: Activation) -> bool:
    """Whether act(s x) is s act(x) for every s above 0."""
    return act in (F.relu, F.leaky_relu, _linear)
