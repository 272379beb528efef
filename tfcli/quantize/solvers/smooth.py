"""SmoothQuant: share the difficulty of inputs with the weights that read them.

Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
Models", arXiv 2211.10438, equation 4. Inputs are divided by the factors, and the columns of weights
multiplied; `models/folding.py` says where.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

STRENGTH = 0.5
"""The paper's alpha: 1 moves all of the difficulty to the weights, 0 all of it to the inputs."""

_LEAST = 1e-5


def smoothing_factors(
    largest: Tensor,
    weights: Sequence[Tensor],
    strength: float = STRENGTH,
    shared: Tensor | None = None,
) -> Tensor:
    """The factors of inputs, max|x|^alpha / max|w|^(1 - alpha), fp32 [n], finite and above 0.

    An input that was always 0, or that no weight looks at, keeps the factor 1.

    Args:
        largest (Tensor): [n], the largest |x| that was seen of each input.
        weights (Tensor): [m, n] each, of everything that reads the inputs.
        strength: alpha, from 0 to 1.
        shared (Tensor): int64 [n], inputs with the same number get the same factor, that of the
            largest of them; None: each its own.
    """
    sizes = largest.float()
    columns = torch.stack([weight.abs().amax(0).float() for weight in weights]).amax(0)
    if shared is not None:
        shared = shared.to(sizes.device)
        sizes, columns = _largest(sizes, shared), _largest(columns, shared)
    known = (sizes > 0) & (columns > 0)
    factors = sizes.clamp(min=_LEAST) ** strength / columns.clamp(min=_LEAST) ** (1 - strength)
    return torch.where(known, factors.clamp(min=_LEAST), torch.ones_like(factors))


def _largest(values: Tensor, shared: Tensor) -> Tensor:
    """The largest of the inputs that share a factor, for each of them."""
    count = int(shared.max()) + 1
    return values.new_zeros(count).scatter_reduce_(0, shared, values, "amax")[shared]
