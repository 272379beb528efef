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

from tfcli.quantize.solvers.hessian import Factor, Statistics, energy, factorize, solve

_PROBES = 256
"""Outputs that the share is found with."""


def drift_target(weight: Tensor, statistics: Statistics, factor: Factor, share: float) -> Tensor:
    """The weight to quantize instead of the dense one, fp32 [m, n].

    Args:
        weight (Tensor): fp32 [m, n].
        statistics: closed; those of the inputs of this weight.
        factor: of their H~.
        share: of the way from the weight to W*.
    """
    drift = statistics.fit.drift
    if drift is None or share == 0:
        return weight
    if len(weight) > len(drift):  # of more outputs than inputs K H~^-1 first takes fewer products
        return torch.addmm(weight, weight, solve(drift, factor), alpha=share)
    return torch.add(weight, solve(weight @ drift, factor), alpha=share)


def best_share(weight: Tensor, statistics: Statistics, damping: float, *, name: str = "") -> float:
    """The share in 0 .. 1 with the least error on the tokens held out; 0 where nothing drifts.

    With D = W* - W, fitted without these tokens, and sums over them, sum |W x - (W + a D) xh|^2 is
    a parabola in a, least at <W K, D> / <D H, D>. So no grid of shares is needed.

    Args:
        weight (Tensor): fp32 [m, n].
        statistics: closed; those of the inputs of this weight.
        damping: the share of the mean diagonal that makes H~ of H.
        name: the weight's name, for errors.
    """
    fit, held = statistics.fit, statistics.held
    if fit.drift is None:
        return 0.0
    if held is None or held.drift is None:
        raise TypeError("no tokens are held out to choose the share with")
    natural = torch.arange(weight.shape[1], device=weight.device)
    factor = factorize(fit.inputs, natural, damping, without=held.inputs, name=name)
    probes = weight[:: -(-len(weight) // _PROBES)]
    moved = probes @ held.drift
    change = solve(probes @ fit.drift - moved, factor)
    size = energy(change, held.inputs)
    gain = (moved * change).sum(dtype=torch.float64).item()
    return min(max(gain / size, 0.0), 1.0) if size > 0 else 0.0
