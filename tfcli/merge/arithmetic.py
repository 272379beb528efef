"""The change that an adapter makes to one stored tensor, applied in pieces of rows.

Every method is one formula on a weight M [rows, columns]:

    M' = factor * (M + scale * left @ right)

LoRA (Hu et al. 2021) has no factor; (IA)^3 (Liu et al. 2022) has nothing else. DoRA (Liu et al.
2024) has a factor for each output: the learned magnitude over the length of the changed row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.checkpoints.io import tensor_pieces as pieces
from tfcli.checkpoints.io.tensor_pieces import fill


@dataclass(frozen=True)
class Edit:
    """What an adapter does to a stored tensor, or to one element of a stored stack.

    Args:
        index: the element of the stack; None for the whole tensor.
        transposed: the tensor is stored [columns, rows].
        left (Tensor): [rows, rank], or None where nothing is added.
        right (Tensor): [rank, columns].
        scale: of their product.
        magnitude (Tensor): DoRA's, for each row, or for each column with `by_column`.
        by_column: magnitudes belong to columns, as in an embedding.
        factor (Tensor): [rows, 1] or [1, columns], or None.
    """

    index: int | None = None
    transposed: bool = False
    left: Tensor | None = None
    right: Tensor | None = None
    scale: float = 1.0
    magnitude: Tensor | None = None
    by_column: bool = False
    factor: Tensor | None = None

    def matrix(self, stored: Tensor) -> Tensor:
        """The part of a stored tensor that is changed, as a view [rows, columns]."""
        part = stored if self.index is None else stored[self.index]
        if part.dim() == 1:
            return part[:, None]  # a bias: one column
        return part.t() if self.transposed else part

    @property
    def size(self) -> tuple[int | None, int | None]:
        """The rows and columns that it fits; None for any."""
        rows = columns = None
        if self.left is not None and self.right is not None:
            rows, columns = self.left.shape[0], self.right.shape[1]
        if self.factor is not None:
            rows = self.factor.shape[0] if self.factor.shape[0] > 1 else None
            columns = self.factor.shape[1] if self.factor.shape[1] > 1 else None
        return rows, columns


@dataclass
class Outcome:
    """What the edits of one tensor did to its values.

    Args:
        before: the largest absolute value of the base.
        moved: the largest change of a value.
        after: the largest exact value.
        lost: the largest distance of a written value from the exact one.
    """

    before: float = 0.0
    moved: float = 0.0
    after: float = 0.0
    lost: float = 0.0

    @property
    def change(self) -> float:
        """`moved`, relative to the base. A base of zeros moves by all that it is."""
        return self.moved / (self.before or self.moved or 1.0)

    @property
    def deviation(self) -> float:
        """`lost`, relative to the exact values."""
        return self.lost / (self.after or 1.0)

    def add(self, old: Tensor, exact: Tensor, written: Tensor) -> None:
        """Take some rows into account."""
        if exact.numel():
            self.before = max(self.before, old.abs().max().item())
            self.moved = max(self.moved, (exact - old).abs_().max().item())
            self.after = max(self.after, exact.abs().max().item())
            self.lost = max(self.lost, (written.to(exact.dtype) - exact).abs_().max().item())


def apply_edits(
    base: Tensor, edits: Sequence[Edit], dtype: torch.dtype, name: str
) -> tuple[Tensor, Outcome]:
    """The changed tensor, rounded once to `dtype`, and what that did to its values.

    Computed in fp32 for 16-bit weights and in fp64 for others, a few million values at a time.

    Raises:
        WorkError: the result is not finite; names the tensor.
    """
    wide = torch.float32 if base.dtype in (torch.float16, torch.bfloat16) else torch.float64
    result = torch.empty(base.shape, dtype=dtype)
    if any(edit.index is not None for edit in edits):
        result.copy_(base)
    outcome = Outcome()
    for edit in edits:
        old, new = edit.matrix(base), edit.matrix(result)
        columns = _column_factor(edit, old, wide) if edit.by_column else None
        for rows, before, exact in _changed(edit, old, wide):
            if edit.magnitude is not None and not edit.by_column:
                lengths = torch.linalg.vector_norm(exact, dim=1)
                exact.mul_((edit.magnitude[rows].to(wide) / lengths)[:, None])
            if columns is not None:
                exact.mul_(columns)
            fill(new[rows], exact, name)
            outcome.add(before, exact, new[rows])
    return result, outcome


def _changed(edit: Edit, old: Tensor, wide: torch.dtype) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows, their values before, and after the product and the plain factor."""
    left = None if edit.left is None else edit.left.to(wide) * edit.scale
    right = None if edit.right is None else edit.right.to(wide)
    factor = None if edit.factor is None else edit.factor.to(wide)
    step = max(1, pieces.PIECE // max(1, old.shape[1]))
    for start in range(0, old.shape[0], step):
        rows = slice(start, min(start + step, old.shape[0]))
        before = old[rows].to(wide)
        if left is not None and right is not None:
            exact = torch.addmm(before, left[rows], right)
        else:
            exact = before.clone()
        if factor is not None:
            exact.mul_(factor[rows] if factor.shape[0] > 1 else factor)
        yield rows, before, exact


def _column_factor(edit: Edit, old: Tensor, wide: torch.dtype) -> Tensor | None:
    """DoRA's factor where magnitudes belong to columns: one pass over all rows for the lengths."""
    if edit.magnitude is None:
        return None
    squares = torch.zeros(old.shape[1], dtype=torch.float64)
    for _, _, exact in _changed(edit, old, wide):
        squares += exact.double().square_().sum(dim=0)
    return (edit.magnitude.double() / squares.sqrt()).to(wide)
