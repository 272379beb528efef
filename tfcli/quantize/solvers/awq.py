"""AWQ: give the inputs that matter a finer grid, and narrow the grid where that pays.

Lin et al. 2023, "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978. An input whose
weights are multiplied by a factor before they are rounded, and which is divided by it, has a
smaller error; what came before the linear takes the division over (`models/folding.py`). Then each
group is clipped to the range of least error.

The error of a linear's outputs on the calibration inputs X is tr(D X X' D') for a change D of its
weight, so one matrix for each input says what every candidate costs: no block is run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.layouts.values import Affine
from tfcli.quantize.solvers.grid import AT_ONCE, Grid, GridOptions, _grid

RATIOS = tuple(step / 20 for step in range(1, 21))
"""Exponents of the size of inputs, of which the best is taken: the paper's grid."""

SHRINKS = tuple(1 - step / 20 for step in range(10))
"""The fractions of a group's range that the clip search tries."""

SAMPLED_ROWS = 512
"""Rows of each weight that the search for factors looks at, at least: they share the factors, and
the sum over these says which are best."""

_FARTHEST = 1e3
"""No factor is farther from their mean: what it says of an input that is hardly ever active."""


@dataclass
class Seen:
    """What calibration saw of the inputs of a linear.

    Args:
        sizes (Tensor): fp32 [n], the mean of |x|.
        products (Tensor): fp32 [n, n], the mean of x x'; or of the inputs within each group,
            [groups, width, width], where a whole matrix would be too large.
        count: inputs that were seen.
    """

    sizes: Tensor
    products: Tensor
    count: int = 0

    @classmethod
    def nothing(cls, features: int, width: int | None, device: torch.device | str = "cpu") -> Seen:
        """Before any input.

        Args:
            features: n.
            width: inputs of a group, where only products within groups are kept; None: of all.
            device: where it is kept.
        """
        shape = (features, features) if width is None else (features // width, width, width)
        return cls(torch.zeros(features, device=device), torch.zeros(shape, device=device))

    def add(self, inputs: Tensor) -> None:
        """Take in a batch of inputs, [..., n]."""
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        if not len(rows):
            return
        whole = self.count + len(rows)
        kept = self.count / whole
        self.sizes.mul_(kept).add_(rows.abs().sum(0), alpha=1 / whole)
        if self.products.ndim == 2:
            self.products.addmm_(rows.t(), rows, beta=kept, alpha=1 / whole)
        else:
            groups = rows.view(len(rows), len(self.products), -1).transpose(0, 1)
            self.products.baddbmm_(groups.mT, groups, beta=kept, alpha=1 / whole)
        self.count = whole

    def folded(self, factors: Tensor) -> Seen:
        """What it would have seen of inputs that are divided by factors, [n]."""
        if self.products.ndim == 2:
            products = self.products / factors / factors[:, None]
        else:
            groups = factors.view(len(self.products), -1)
            products = self.products / groups[:, None] / groups[:, :, None]
        return Seen(self.sizes / factors, products, self.count)

    def moved(self, change: Tensor) -> Tensor:
        """`change` times the products: [m, n] -> [m, n]."""
        if self.products.ndim == 2:
            return change @ self.products
        groups = change.view(len(change), len(self.products), -1).transpose(0, 1)
        return (groups @ self.products).transpose(0, 1).reshape_as(change)

    def cost(self, change: Tensor) -> float:
        """The mean squared error of all outputs together that a change of the weight makes."""
        return float((self.moved(change) * change).sum())

    def within(self, group: int, width: int) -> Tensor:
        """The products of the inputs of one group, [width, width]; within groups it is part of."""
        if self.products.ndim == 3:
            kept, start = self.products.shape[-1], group * width
            part = slice(start % kept, start % kept + width)
            return self.products[start // kept][part, part]
        part = slice(group * width, (group + 1) * width)
        return self.products[part, part]

    def require_finite(self, name: str) -> None:
        """Refuse what a broken model computes.

        Raises:
            WorkError: names `name`.
        """
        if not (torch.isfinite(self.products).all() and torch.isfinite(self.sizes).all()):
            raise WorkError(
                "the calibration inputs are not finite",
                where=name,
                fix="check the checkpoint for NaN or infinite weights",
            )


@dataclass(frozen=True)
class Reader:
    """A weight that reads the inputs which factors are sought for.

    Args:
        weight (Tensor): fp32 [m, n].
        seen: of its inputs.
        options: of the grid that it is rounded to; None: of that of all.
    """

    weight: Tensor
    seen: Seen
    options: GridOptions | None = None


@dataclass(frozen=True)
class Scaling:
    """What a search found.

    Args:
        factors (Tensor): fp32 [n], by which weights are multiplied; None where none are better.
        before: the error of the readers' outputs without factors, over the sampled rows.
        after: with them.
    """

    factors: Tensor | None
    before: float
    after: float


def search_factors(
    readers: Sequence[Reader], options: GridOptions, shared: Tensor | None = None
) -> Scaling:
    """The factors of inputs for which rounding changes the outputs of their readers the least.

    Candidates are powers of the mean size of an input, by themselves and over the complementary
    power of the mean size of its weights within their groups, as in the reference implementation.

    Args:
        readers: of these inputs, with the same n.
        options: of the grid that weights are rounded to, those with one of their own aside.
        shared (Tensor): int64 [n], inputs with the same number get the same factor; None: each its
            own.
    """
    readers = [replace(r, options=r.options or options) for r in readers if r.seen.count]
    if not readers:
        return Scaling(None, 0.0, 0.0)
    total = sum(reader.seen.count for reader in readers)
    sizes = sum((r.seen.sizes * (r.seen.count / total) for r in readers), torch.tensor(0.0))
    rows = sum(len(reader.weight) for reader in readers)
    every = sum((_shares(r) * (len(r.weight) / rows) for r in readers), torch.tensor(0.0))
    sizes, shares = _pooled(sizes, shared), _pooled(every, shared)
    sampled = [replace(r, weight=_sample(r.weight)) for r in readers]

    def error(factors: Tensor | None) -> float:
        return sum(r.seen.count / total * _rounding(r, factors) for r in sampled)

    best, before = None, error(None)
    least = before
    for candidate in _candidates(sizes, shares):
        found = error(candidate)
        if found < least:
            best, least = candidate, found
    return Scaling(best, before, least)


def _candidates(sizes: Tensor, shares: Tensor) -> Iterator[Tensor]:
    for ratio in RATIOS:
        yield _normed(sizes.pow(ratio))
        yield _normed(sizes.pow(ratio) / (shares.pow(1 - ratio) + 1e-4))


def _normed(factors: Tensor) -> Tensor:
    """With a geometric mean of 1, and none out of bounds."""
    logs = factors.log()
    known = torch.isfinite(logs)
    logs = torch.where(known, logs - logs[known].mean(), torch.zeros_like(logs))
    return logs.exp().clamp(1 / _FARTHEST, _FARTHEST)


def _shares(reader: Reader) -> Tensor:
    """The mean over rows of |w|, each over the largest of its group: [n]."""
    assert reader.options is not None, "a search gives each its own"
    groups = _grouped(reader.weight.abs(), reader.options)
    return (groups / (groups.amax(-1, keepdim=True) + 1e-6)).flatten(1).mean(0)


def _pooled(values: Tensor, shared: Tensor | None) -> Tensor:
    """The mean over inputs that share a factor, for each of them."""
    if shared is None:
        return values
    shared = shared.to(values.device)
    count = int(shared.max()) + 1
    sums = values.new_zeros(count).index_add_(0, shared, values)
    return (sums / torch.bincount(shared, minlength=count))[shared]


def _sample(weight: Tensor) -> Tensor:
    """Some rows, evenly over all of them."""
    step = max(1, len(weight) // SAMPLED_ROWS)
    return weight[::step]


def _rounding(reader: Reader, factors: Tensor | None) -> float:
    """The error of rounding a weight with factors on its inputs."""
    weight, options = reader.weight, reader.options
    assert options is not None, "a search gives each its own"
    if factors is None:
        return reader.seen.cost(_rounded(weight, options) - weight)
    return reader.seen.cost(_rounded(weight * factors, options) / factors - weight)


def _rounded(weight: Tensor, options: GridOptions) -> Tensor:
    groups = _grouped(weight, options)
    grid = _grid(*_ends(groups), options)
    return grid.values(grid.levels(groups)).view_as(weight)


def _grouped(weight: Tensor, options: GridOptions) -> Tensor:
    """[m, n] -> [m, groups, width]"""
    return weight.reshape(len(weight), -1, options.width(weight.shape[1]))


def _ends(groups: Tensor, shrink: float = 1.0) -> tuple[Tensor, Tensor]:
    """The range of each group, cut off at a fraction of its largest absolute value."""
    low = groups.amin(-1, keepdim=True).clamp_(max=0)
    high = groups.amax(-1, keepdim=True).clamp_(min=0)
    if shrink == 1:
        return low, high
    limit = shrink * torch.maximum(-low, high)
    return torch.maximum(low, -limit), torch.minimum(high, limit)


def clipped(weight: Tensor, seen: Seen | None, options: GridOptions, sweeps: int = 2) -> Affine:
    """Round a weight, each group in the range for which the outputs of its row change the least.

    Groups are taken one after the other, each with regard to the errors that the others have at
    that time, so the error falls with every choice.

    Args:
        weight (Tensor): fp32 [m, n], with factors.
        seen: of its inputs, divided by the factors; None or nothing seen: the full range.
        options: of the grid.
        sweeps: how often all groups are gone through.
    """
    rows = weight.split(max(1, AT_ONCE // weight.shape[1]))
    return Affine.stacked([_clipped(each, seen, options, sweeps) for each in rows])


def _clipped(weight: Tensor, seen: Seen | None, options: GridOptions, sweeps: int) -> Affine:
    """`clipped` for some outputs, which do not depend on the others."""
    groups = _grouped(weight, options)
    grid = _grid(*_ends(groups), options)
    scale, zero = grid.scale.clone(), grid.zero.clone()
    if seen is not None and seen.count:
        change = grid.values(grid.levels(groups)) - groups
        for _ in range(sweeps):
            _sweep(groups, change, scale, zero, seen, options)
    levels = Grid(scale, zero, options.top).levels(groups)
    return Affine(
        levels=levels.view_as(weight).to(torch.uint8),
        scales=scale[..., 0],
        zeros=zero[..., 0].to(torch.uint8),
        bits=options.bits,
        group_size=groups.shape[-1],
    )


def _sweep(
    groups: Tensor,
    change: Tensor,
    scale: Tensor,
    zero: Tensor,
    seen: Seen,
    options: GridOptions,
) -> None:
    """Choose the range of each group anew; writes `change`, `scale` and `zero`."""
    _, count, width = groups.shape
    for at in range(count):
        own, values = seen.within(at, width), groups[:, at]
        rest = torch.zeros_like(values)
        if seen.products.ndim == 2 and count > 1:
            part = slice(at * width, (at + 1) * width)
            rest = change.flatten(1) @ seen.products[:, part] - change[:, at] @ own
        now = change[:, at]
        least = ((now @ own + 2 * rest) * now).sum(-1, keepdim=True)
        for shrink in SHRINKS:
            grid = _grid(*_ends(values, shrink), options)
            error = grid.values(grid.levels(values)) - values
            cost = ((error @ own + 2 * rest) * error).sum(-1, keepdim=True)
            better = cost < least
            least = torch.where(better, cost, least)
            change[:, at] = torch.where(better, error, change[:, at])
            scale[:, at] = torch.where(better, grid.scale, scale[:, at])
            zero[:, at] = torch.where(better, grid.zero, zero[:, at])
