"""Small floats: 8-bit e4m3, 4-bit e2m1, and scales that are powers of two (e8m0).

Source: OCP Microscaling Formats (MX) Specification 1.0; OCP 8-bit Floating Point Specification 1.0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST = {"e4m3": 448.0, "e2m1": 6.0}
"""The greatest number of each type."""

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The numbers of e2m1 by their code, without the sign, which is its highest bit."""

BIAS = 127
"""What is added to the exponent of a scale: e8m0 says 2 ** (byte - 127)."""

NO_NUMBER = 255
"""The byte of e8m0 that is no number."""


def round_e2m1(x: Tensor) -> Tensor:
    """The nearest number of e2m1, of two the one with the even code; the sign of 0 is kept."""
    size = x.abs().clamp_(max=LARGEST["e2m1"])
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0)).to(x.dtype)
    return torch.copysign((size / step).round_() * step, x)


def encode_e2m1(values: Tensor) -> Tensor:
    """Codes of numbers, two in a byte, the first in the low half.

    Args:
        values (Tensor): [m, n], numbers of e2m1 in any float type, n even.

    Returns:
        Tensor: uint8 [m, n/2].

    Raises:
        ValueError: a number that e2m1 does not have.
    """
    wide = values.float()
    levels = torch.tensor(E2M1, device=values.device)
    codes = torch.searchsorted(levels, wide.abs()).clamp_(max=len(E2M1) - 1)
    if not torch.equal(levels[codes], wide.abs()):
        raise ValueError("a number that 4 bits do not hold")
    codes = (codes | torch.signbit(wide).long() << 3).to(torch.uint8)
    return codes[:, ::2] | codes[:, 1::2] << 4


def decode_e2m1(packed: Tensor) -> Tensor:
    """Undo `encode_e2m1`: float8_e4m3fn [..., 2n], which has every number of e2m1.

    Args:
        packed (Tensor): uint8 [..., n]
    """
    signed = torch.tensor([*E2M1, *(-level for level in E2M1)], device=packed.device)
    table = signed.to(torch.float8_e4m3fn).view(torch.uint8)
    codes = torch.stack([packed & 0xF, packed >> 4], dim=-1).flatten(-2)
    return table[codes.long()].view(torch.float8_e4m3fn)


def decode_e8m0(exponents: Tensor) -> Tensor:
    """The powers of two that bytes stand for: fp32, exactly."""
    ones = torch.ones_like(exponents, dtype=torch.float32)
    return torch.ldexp(ones, exponents.to(torch.int32) - BIAS)


def encode_e8m0(powers: Tensor) -> Tensor:
    """Undo `decode_e8m0`: uint8.

    Raises:
        ValueError: a number that is no power of two.
    """
    mantissa, exponent = torch.frexp(powers.float())
    if not bool((mantissa == 0.5).all()):
        raise ValueError("a scale that is no power of two")
    return (exponent - 1 + BIAS).to(torch.uint8)


def power_of_two(most: Tensor, kind: str) -> Tensor:
    """The scale of a group whose largest number is `most`, as the MX formats choose it: fp32.

    The largest number falls into the highest octave of the type, or above it into the next one's
    beginning where it would be cut off by an eighth or more.
    """
    mantissa, exponent = torch.frexp(most.float())
    octave = exponent - 1 + (mantissa >= 0.875).int() - int(math.log2(LARGEST[kind]))
    octave = torch.where(most == 0, -BIAS, octave).clamp_(-BIAS, BIAS)
    return torch.ldexp(torch.ones_like(mantissa), octave)
