"""The weight to aim at where the quantized model's inputs have drifted from the dense model's.

The weight that gives back the dense outputs on the quantized inputs, W x = W* xh in the mean:
W* = W (G + l I) H~^-1 = W + W K H~^-1 least sum |W x - W* xh|^2 + l |W* - W|^2 (G, K and H~ as in
`hessian.py`). With few tokens W* fits their noise, so only a share a of the way is gone:
W + a (W* - W). Zhang et al. 2025, "Qronos", arXiv 2505.11695, and Li et al. 2025, "GPTAQ", arXiv
2504.02692, go all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.quantize.solvers.hessian import Factor, Statistics, factorize, solve

_PROBES = 256
"""Outputs that the share is found with."""


def drift_target(
    weight: Tensor,
    statistics: Statistics,
    factor: Factor,
    share: float | None,
    *,
    name: str = "",
) -> tuple[Tensor, float]:
    """The weight to quantize instead of the dense one.

    Args:
        weight (Tensor): fp32 [m, n].
        statistics: closed; those of the inputs of this weight.
        factor: of their H~.
        share: of the way from the weight to W*; None for the best one on the tokens held out.
        name: the weight's name, for errors.

    Returns:
        fp32 [m, n] and the share.
    """
    drift = statistics.fit.drift
    if drift is None:
        return weight, 0.0
    if share is None:
        share = best_share(weight, statistics, factor, name=name)
    if share == 0:
        return weight, 0.0
    return torch.add(weight, solve(weight @ drift, factor), alpha=share), share


def best_share(weight: Tensor, statistics: Statistics, factor: Factor, *, name: str = "") -> float:
    """The share in 0 .. 1 with the least error on the tokens held out.

    With D = W* - W, fitted without these tokens, and sums over them, sum |W x - (W + a D) xh|^2 is
    a parabola in a, least at <W K, D> / <D H, D>. So no grid of shares is needed.
    """
    fit, held = statistics.fit, statistics.held
    if held is None or fit.drift is None or held.drift is None:
        raise TypeError("no tokens are held out to choose the share with")
    probes = weight[:: -(-len(weight) // _PROBES)]
    without = factorize(fit.inputs - held.inputs, factor.order, factor.damping, name=name)
    moved = probes @ held.drift
    change = solve(probes @ fit.drift - moved, without)
    size = ((change @ held.inputs) * change).sum(dtype=torch.float64).item()
    gain = (moved * change).sum(dtype=torch.float64).item()
    return min(max(gain / size, 0.0), 1.0) if size > 0 else 0.0
