"""What calibration keeps of the inputs of a linear, and what is made of it before a weight is met.

Written x for an input of the dense model, xh for the same token in the quantized one, ' for a
transpose: H = sum xh xh' and G = sum x xh'. Kept are sums, in fp32, so that those of several
processes add up to those of one. G is kept as K = G - H = sum (x - xh) xh': where the two models
are close, their difference is, and not what fp32 leaves of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.kernels.sums import add_products

Order = Literal["natural", "activation", "group"]

MOST_DAMPING = 10.0
"""Where raising the damping stops: a Hessian that needs more than this is broken."""

_PANEL = 512
"""Columns of a panel, of the symmetric product and of the Cholesky factorization."""


@dataclass
class Moments:
    """Sums over tokens.

    Args:
        inputs (Tensor): fp32 [n, n], H. Until `mirror` only its upper triangle counts.
        drift (Tensor): fp32 [n, n], K; None where the dense model is not looked at.
    """

    inputs: Tensor
    drift: Tensor | None = None

    @classmethod
    def empty(
        cls, in_features: int, *, drift: bool = False, device: torch.device | str = "cpu"
    ) -> Moments:
        """Sums over nothing."""
        shape = (in_features, in_features)
        return cls(
            torch.zeros(shape, dtype=torch.float32, device=device),
            torch.zeros(shape, dtype=torch.float32, device=device) if drift else None,
        )

    def add(self, quantized: Tensor, dense: Tensor | None = None) -> None:
        """Take in tokens, [..., n], as the quantized model has them and as the dense one does.

        What comes in bfloat16 is multiplied in bfloat16 where the processor can, in half the time:
        of inputs that is exact, of their drift it rounds each number.
        """
        given = quantized.reshape(-1, quantized.shape[-1])
        rows = given.float()
        if not add_products(self.inputs, given):
            for start in range(0, rows.shape[1], _PANEL):  # half of what the full product costs
                panel = rows[:, start : start + _PANEL]
                self.inputs[start : start + _PANEL, start:].addmm_(panel.t(), rows[:, start:])
        if self.drift is not None:
            if dense is None:
                raise TypeError("sums with drift need the inputs of the dense model")
            moved = dense.reshape(rows.shape).float() - rows
            if not add_products(self.drift, moved.to(given.dtype), given):
                self.drift.addmm_(moved.t(), rows)

    def absorb(self, other: Moments) -> None:
        """Add the sums over other tokens."""
        self.inputs += other.inputs
        if self.drift is not None and other.drift is not None:
            self.drift += other.drift

    def mirror(self) -> None:
        """Fill the lower triangle of H."""
        for start in range(0, len(self.inputs), _PANEL):
            stop = start + _PANEL
            self.inputs[stop:, start:stop] = self.inputs[start:stop, stop:].t()
            corner = self.inputs[start:stop, start:stop]
            corner.copy_(corner.triu() + corner.triu(1).t())

    @property
    def finite(self) -> bool:
        """Whether all sums are."""
        sums = (self.inputs, self.drift)
        return all(bool(torch.isfinite(one).all()) for one in sums if one is not None)


@dataclass(frozen=True)
class Factor:
    """H~ = H + diag(ridge), in some order of the inputs, as L L'.

    A sweep takes the inputs from the last position to the first. L is then what the papers' upper
    Cholesky factor U of H~^-1 is in the opposite order, as U = L^-1 but for that: one factorization
    instead of two and an inverse.

    Args:
        lower (Tensor): fp32 [n, n], of which only the lower triangle counts: L.
        order (Tensor): int64 [n], the input at each position.
        ridge (Tensor): fp32 [n], what was added to the diagonal of each input.
        damping: the share of the mean diagonal that was added.
    """

    lower: Tensor
    order: Tensor
    ridge: Tensor
    damping: float


@dataclass
class Statistics:
    """What calibration keeps for linears that share their inputs.

    For n inputs that is one square of n x n numbers; two with the drift; four where tokens are held
    out to choose how much of it counts. A factor of H~ comes on top, and stays for as long as
    linears of the group are left; before it, for each of them, for a while one of the tokens that
    are not held out. So at most there are two squares without drift, three with a share that is
    given, five with one that is chosen, and six of these where several linears share their inputs.

    Args:
        fit: sums over the tokens that are not held out; from `close` on, over all.
        held: sums over the last eighth of the tokens of each window, or None.
        tokens (Tensor): int64 [1], how many tokens were seen.
    """

    fit: Moments
    held: Moments | None = None
    tokens: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.int64))
    _closed: bool = False
    _factors: dict[tuple[Order, int, float], Factor] = field(default_factory=dict, repr=False)

    @classmethod
    def empty(
        cls,
        in_features: int,
        *,
        drift: bool = False,
        hold_out: bool = False,
        device: torch.device | str = "cpu",
    ) -> Statistics:
        """Statistics of nothing."""
        fit = Moments.empty(in_features, drift=drift, device=device)
        held = Moments.empty(in_features, drift=drift, device=device) if hold_out else None
        return cls(fit, held, torch.zeros(1, dtype=torch.int64, device=device))

    def add(self, quantized: Tensor, dense: Tensor | None = None) -> None:
        """Take in windows, [..., s, n], as the quantized model has them and as the dense one does.

        Held out is the end of each window, not some of the windows: what is held out then depends
        neither on the batch size nor on the number of processes.
        """
        self.tokens += quantized.shape[:-1].numel()
        if self.held is None:
            self.fit.add(quantized, dense)
            return
        length = quantized.shape[-2]
        kept = length - -(-length // 8)
        for moments, part in ((self.fit, slice(None, kept)), (self.held, slice(kept, None))):
            moments.add(quantized[..., part, :], None if dense is None else dense[..., part, :])

    @property
    def sums(self) -> tuple[Tensor, ...]:
        """All sums, which those over other tokens can be added to, before `close`."""
        kept = (self.fit, self.held) if self.held is not None else (self.fit,)
        every = [sum_ for each in kept for sum_ in (each.inputs, each.drift)]
        return (*(each for each in every if each is not None), self.tokens)

    def close(self, *, name: str = "") -> None:
        """Nothing more comes: from now on `fit` has all tokens.

        Raises:
            WorkError: the sums are not finite; names `name`.
        """
        if self._closed:
            return
        for moments in filter(None, (self.fit, self.held)):
            if not moments.finite:
                raise WorkError(
                    "the calibration inputs are not finite",
                    where=name,
                    fix="check the checkpoint for NaN or infinite weights",
                )
            moments.mirror()
        if self.held is not None:
            self.fit.absorb(self.held)
        self._closed = True

    def factor(self, order: Order, width: int, damping: float, *, name: str = "") -> Factor:
        """The factor of H~ for an order of the inputs, made once.

        Args:
            order: see `positions`.
            width: inputs of a group.
            damping: the share of the mean diagonal to add.
            name: of the linear, for errors.
        """
        key = (order, width, damping)
        if key not in self._factors:
            found = positions(self.fit.inputs.diagonal(), order, width)
            self._factors[key] = factorize(self.fit.inputs, found, damping, name=name)
        return self._factors[key]


def positions(diagonal: Tensor, order: Order, width: int) -> Tensor:
    """The inputs in an order of a sweep, int64 [n]: the last is taken first.

    Args:
        diagonal (Tensor): fp32 [n], of H.
        order: `natural`, as they stand; `activation`, those with the largest activations first;
            `group`, the same within each group, and the groups by their largest, so that the inputs
            of a group are neighbours (Gafni et al. 2025, arXiv 2505.14638).
        width: inputs of a group.
    """
    count = len(diagonal)
    if order == "natural":
        return torch.arange(count, device=diagonal.device).flip(0)
    if order == "activation":
        return torch.argsort(diagonal, descending=True, stable=True).flip(0)
    inner = torch.argsort(diagonal.view(-1, width), dim=1, descending=True, stable=True)
    groups = torch.argsort(diagonal.view(-1, width).amax(dim=1), descending=True, stable=True)
    return (
        (inner + width * torch.arange(len(inner), device=inner.device)[:, None])[groups]
        .view(count)
        .flip(0)
    )


def factorize(
    hessian: Tensor,
    order: Tensor,
    damping: float,
    *,
    without: Tensor | None = None,
    name: str = "",
) -> Factor:
    """Damp a Hessian and factorize it. The damping is raised tenfold until that succeeds.

    Args:
        hessian (Tensor): fp32 [n, n].
        order (Tensor): int64 [n], the input at each position.
        damping: the share of the mean diagonal to add, over the inputs that were ever active.
        without (Tensor): fp32 [n, n], a part of the Hessian that is not to count.
        name: of the linear, for errors.

    Raises:
        WorkError: no damping up to 10 helped.
    """
    diagonal = hessian.diagonal()
    if without is not None:
        diagonal = diagonal - without.diagonal()
    # An input that was never active has no say. Any number on the diagonal makes it independent of
    # the others, so that it is rounded to nearest; and it must not count in the mean, which the
    # damping of the others is measured by.
    live = diagonal > 0
    mean = diagonal[live].mean().item() if live.any() else 1.0
    while True:
        ridge = torch.where(live, damping * mean, mean)
        lower = torch.empty_like(hessian)
        # In pieces, so that there is no second square.
        for rows, chosen in zip(lower.split(_PANEL), order.split(_PANEL), strict=True):
            part = hessian[chosen]
            if without is not None:
                part -= without[chosen]
            torch.index_select(part, 1, order, out=rows)
        lower.diagonal().add_(ridge[order])
        if _cholesky(lower):
            return Factor(lower, order, ridge, damping)
        del lower
        damping = max(10 * damping, 1e-3)
        if damping > MOST_DAMPING:
            raise WorkError(
                "the calibration statistics have no Cholesky factor, whatever the damping",
                where=name,
                fix="use more or other calibration text",
            )


def _cholesky(matrix: Tensor) -> bool:
    """Overwrite the lower triangle of a matrix by its Cholesky factor, if there is one.

    Panels of columns from the left, so that nearly all of it is matrix products: twice as fast on
    a CPU as LAPACK's, and in place.
    """
    for start in range(0, len(matrix), _PANEL):
        panel = matrix[start:, start : start + _PANEL]
        width = panel.shape[1]
        done = matrix[start:, :start]
        panel.addmm_(done, done[:width].t(), alpha=-1)
        top, failed = torch.linalg.cholesky_ex(panel[:width])
        if failed.item() or not torch.isfinite(top).all():
            return False
        panel[:width] = top
        panel[width:] = torch.linalg.solve_triangular(
            top.t(), panel[width:], upper=True, left=False
        )
    return True


def solve(right: Tensor, factor: Factor) -> Tensor:
    """right H~^-1, both fp32 [m, n] with the inputs in their natural order."""
    lower = factor.lower
    found = right.index_select(1, factor.order)
    found = torch.linalg.solve_triangular(lower.t(), found, upper=True, left=False)
    found = torch.linalg.solve_triangular(lower, found, upper=False, left=False)
    out = torch.empty_like(found)
    out[:, factor.order] = found
    return out


def energy(rows: Tensor, matrix: Tensor) -> float:
    """tr(R A R') of rows R, fp32 [m, n], and a symmetric A, [n, n]: half the cost of R A."""
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    for start in range(0, rows.shape[1], _PANEL):
        stop = min(start + _PANEL, rows.shape[1])
        part = rows[:, start:stop]
        found = part @ matrix[start:stop, start:stop]
        found.addmm_(rows[:, stop:], matrix[stop:, start:stop], alpha=2)
        total += (found * part).sum(dtype=torch.float64)
    return float(total)
