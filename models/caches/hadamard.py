"""A rotation that spreads what is large in a few dimensions of a head over many of them.

Keys have channels that are many times larger than the others, the same ones at every position. A
group of few bits has one step for all its values, so that one such channel costs all the others
their bits. After a Walsh-Hadamard transform each dimension holds a share of every channel, and the
step is that of an average (QuaRot, Ashkboos et al. 2024).
"""

from __future__ import annotations

import torch


def hadamard(width: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The matrix of the transform: orthonormal and symmetric, so that it is its own inverse.

    No signs are drawn: on the keys and values of a real model those were no better.

    Args:
        width: dimensions of a head. One that is no power of 2 is turned in blocks, each of the
            largest power of 2 that divides it, so an odd one is not turned at all.
        device: where the matrix lies.

    Returns:
        float32 [width, width]
    """
    size = width & -width
    block = torch.ones(1, 1, device=device)
    while len(block) < size:
        block = torch.cat((torch.cat((block, block), 1), torch.cat((block, -block), 1)))
    return torch.block_diag(*[block * size**-0.5] * (width // size))


class Hadamard:
    """The transform along the last dimension; makes each matrix once."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, torch.device], torch.Tensor] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [..., width] -> the same turned, float32. Once more turns it back."""
        key = x.shape[-1], x.device
        if key not in self._made:
            self._made[key] = hadamard(*key)
        return x.float() @ self._made[key]
