"""A linear as models have them: inputs that are correlated, some of them large, and that drift."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """A weight and two sets of tokens: one to calibrate with, one to measure with.

    Args:
        weight (Tensor): [m, n].
        dense (Tensor): [tokens, n], the inputs of the dense model.
        drifted (Tensor): the same tokens in the quantized one.
        test_dense (Tensor): other tokens.
        test_drifted (Tensor): the same.
    """

    weight: Tensor
    dense: Tensor
    drifted: Tensor
    test_dense: Tensor
    test_drifted: Tensor

    def held_out_error(self, quantized: Tensor) -> float:
        """||W x - Q xh||^2 / ||W x||^2 on the tokens to measure with."""
        wanted = self.test_dense @ self.weight.t()
        found = self.test_drifted @ quantized.t()
        return float((wanted - found).square().sum() / wanted.square().sum())


def layer(
    rows: int = 64, columns: int = 256, tokens: int = 8192, drift: float = 0.1, seed: int = 0
) -> Layer:
    """Inputs with a spectrum that falls as a power, a few of them ten times as large; the drift is
    linear in the inputs for its larger part, and noise."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    basis = torch.linalg.qr(normal(columns, columns)).Q
    spectrum = torch.arange(1, columns + 1).pow(-0.5)
    size = normal(columns).mul(0.5).exp()
    size[torch.randperm(columns, generator=generator)[: columns // 64]] *= 10
    mixing = (basis * spectrum) @ basis.t() * size
    bend = drift * normal(columns, columns) / columns**0.5

    def both(count: int) -> tuple[Tensor, Tensor]:
        plain = normal(count, columns)
        moved = plain + plain @ bend + 0.3 * drift * normal(count, columns)
        return plain @ mixing, moved @ mixing

    weight = normal(rows, columns) * normal(rows, 1).mul(0.3).exp()
    return Layer(weight, *both(tokens), *both(8192))
