"""SmoothQuant: share the difficulty of inputs with the weights that read them.

Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
Models", arXiv 2211.10438, equation 4. Inputs are divided by the factors, and the columns of weights
multiplied; `models/folding.py` says where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.layouts.inputs import Inputs

STRENGTH = 0.5
"""The paper's alpha: 1 moves all of the difficulty to the weights, 0 all of it to the inputs."""

_LEAST = 1e-5

SAMPLED_TOKENS = 256
"""Tokens whose inputs are kept, to measure the error of outputs with."""

_OF_A_BATCH = 64


@dataclass
class Extent:
    """What calibration saw of the inputs of a linear.

    Args:
        largest (Tensor): fp32 [n], the largest |x| of each input.
        rows (Tensor): fp32 [k, n], the inputs of some tokens, up to `SAMPLED_TOKENS`.
    """

    largest: Tensor
    rows: Tensor

    @classmethod
    def nothing(cls, features: int, device: torch.device | str = "cpu") -> Extent:
        """Before any input."""
        none = torch.zeros(0, features, device=device)
        return cls(torch.zeros(features, device=device), none)

    def add(self, inputs: Tensor) -> None:
        """Take in a batch of inputs, [..., n]."""
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        if not len(rows):
            return
        self.largest = torch.maximum(self.largest, rows.abs().amax(0))
        wanted = min(SAMPLED_TOKENS - len(self.rows), _OF_A_BATCH)
        if wanted > 0:
            step = max(1, len(rows) // wanted)
            self.rows = torch.cat([self.rows, rows[::step][:wanted]])

    def folded(self, factors: Tensor) -> Extent:
        """What it would have seen of inputs that are divided by factors, [n]."""
        return Extent(self.largest / factors, self.rows / factors)

    def error(self, weight: Tensor, rounded: Tensor, inputs: Inputs) -> float:
        """||WX - Q r(X)||^2 / ||WX||^2 over the tokens that are kept; 0 where WX is.

        Args:
            weight (Tensor): fp32 [m, n], W.
            rounded (Tensor): fp32 [m, n], Q.
            inputs: how inputs are rounded, r.
        """
        exact = self.rows @ weight.t()
        size = exact.square().sum().item()
        change = inputs.round(self.rows) @ rounded.t() - exact
        return change.square().sum().item() / size if size else 0.0

    def require_finite(self, name: str) -> None:
        """Refuse what a broken model computes.

        Raises:
            WorkError: names `name`.
        """
        if not torch.isfinite(self.largest).all():
            raise WorkError(
                "the calibration inputs are not finite",
                where=name,
                fix="check the checkpoint for NaN or infinite weights",
            )


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
