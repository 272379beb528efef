"""Where a factor can move from an operation into what reads its outputs, and back out of it.

A norm multiplies each of its outputs by a weight of its own, and a linear makes each from a row of
its own. So an output can be divided by a factor there, and the columns that read it multiplied by
the same: the model computes what it did. Quantization does that to inputs that are hard to quantize
or whose weights are (AWQ, SmoothQuant).

A module says of itself what can be folded within it:

    reads    the modules within it that its input goes to, by name; it goes nowhere else. Each is
             linear in it: a linear, or the matrix of a router.
    folds()  the pairs within it.

Blocks make pairs of their norms and of what `reads` says of the parts after these; a part that says
nothing is in no pair. So a family that is made of shared blocks has its pairs without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tfcli.models.layers.norms import GatedRMSNorm, OffsetLayerNorm, OffsetRMSNorm, RMSNorm

_NORMS = (RMSNorm, GatedRMSNorm, nn.LayerNorm)
_OFFSET = (OffsetRMSNorm, OffsetLayerNorm)
"""Norms that multiply by 1 + weight."""


@dataclass(frozen=True, eq=False)
class Fold:
    """An operation and everything that reads its outputs. There are `k` factors.

    Args:
        source: name of a norm or a linear.
        readers: names of what has the source's outputs as its inputs, all of it.
        rows (Tensor): int64 [k], which of the source's outputs the factors are of; None: all.
        columns (Tensor): int64 [n], the factor of each input of the readers, where several inputs
            are one output; None: they are as many.
    """

    source: str
    readers: tuple[str, ...]
    rows: Tensor | None = None
    columns: Tensor | None = None

    def below(self, path: str) -> Fold:
        """The same with the names that it has where its module is called `path`."""
        if not path:
            return self
        readers = tuple(f"{path}.{name}" for name in self.readers)
        return replace(self, source=f"{path}.{self.source}", readers=readers)

    def spread(self, factors: Tensor) -> Tensor:
        """The factor of each input of the readers: [k] -> [n]."""
        return factors if self.columns is None else factors[self.columns.to(factors.device)]

    def gathered(self, inputs: Tensor) -> Tensor:
        """The mean over the inputs that share a factor: [n] -> [k]."""
        if self.columns is None:
            return inputs
        columns = self.columns.to(inputs.device)
        sums = inputs.new_zeros(int(columns.max()) + 1).index_add_(0, columns, inputs)
        return sums / torch.bincount(columns)


@runtime_checkable
class Folding(Protocol):
    """A module that has pairs within it."""

    def folds(self) -> Iterator[Fold]:
        """These, by their names within it."""
        ...


def after_norm(norm: str | None, parts: Mapping[str, nn.Module]) -> Iterator[Fold]:
    """A norm and what reads it; nothing where that is not known of every part.

    Args:
        norm: its name; None where there is none.
        parts: name -> module of everything that the norm's outputs go to.
    """
    readers: list[str] = []
    for name, part in parts.items():
        if isinstance(part, nn.Linear):
            readers.append(name)
            continue
        reads = getattr(part, "reads", None)
        if reads is None:
            return
        readers += [f"{name}.{inner}" for inner in reads]
    if norm is not None and readers:
        yield Fold(norm, tuple(readers))


def of_values(
    source: str, reader: str, kv_heads: int, heads: int, head_dim: int, rows: Tensor | None = None
) -> Fold:
    """What makes the values of attention, and what reads their mixtures.

    Weights of attention mix tokens and leave each dimension of a head by itself. Heads that share
    values share their factors.

    Args:
        source: name of the linear that makes the values.
        reader: of the one after attention.
        kv_heads: heads of values.
        heads: of queries.
        head_dim: width of a head of values.
        rows: see `Fold`, where the source makes more than values.
    """
    if heads == kv_heads:
        return Fold(source, (reader,), rows)
    columns = torch.arange(kv_heads * head_dim, device="cpu").view(kv_heads, head_dim)
    columns = columns.repeat_interleave(heads // kv_heads, dim=0).flatten()
    return Fold(source, (reader,), rows, columns)


def span(start: int, stop: int) -> Tensor:
    """The rows from `start` to `stop`, also while a model is built without memory."""
    return torch.arange(start, stop, device="cpu")


def folds_of(block: nn.Module) -> list[Fold]:
    """Every pair of a block, by the names within it, in the order of its modules.

    Left out is what cannot be folded in this block: norms without a weight, packed linears, and
    norms of a kind that is not known.
    """
    found = []
    for path, module in block.named_modules():
        declared = module.folds() if isinstance(module, Folding) else ()
        found += [fold.below(path) for fold in declared if _folds(module, fold)]
    return found


def _folds(module: nn.Module, fold: Fold) -> bool:
    parts = dict(module.named_modules())
    source = parts.get(fold.source)  # a subclass may have replaced it
    if not isinstance(source, (*_NORMS, nn.Linear)) or source.weight is None:
        return False
    readers = (parts.get(name) for name in fold.readers)
    return all(getattr(reader, "weight", None) is not None for reader in readers)


@torch.no_grad()
def apply_fold(
    block: nn.Module, fold: Fold, factors: Tensor, *, stored: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Divide a source's outputs by factors, and multiply the columns of its readers by them.

    Parameters of the block are replaced, the old tensors are left as they are. A norm's weight is
    rounded to the type in which a checkpoint will hold it, and the readers get the factors that
    follow from the rounded one: the rounding costs nothing.

    Args:
        block: with its parameters in float32.
        fold: one of `folds_of(block)`.
        factors (Tensor): [k], finite and above 0.
        stored: the type in which norms are written.

    Returns:
        dict: the name within the block of every parameter that changed -> its new value, float32
    """
    changed: dict[str, Tensor] = {}
    source = block.get_submodule(fold.source)
    weight = source.get_parameter("weight").data
    factors = factors.to(device=weight.device, dtype=torch.float32)
    if isinstance(source, nn.Linear):
        rows = span(0, len(weight)) if fold.rows is None else fold.rows
        shares = torch.ones(len(weight), device=weight.device)
        shares[rows.to(weight.device)] = factors
        changed[f"{fold.source}.weight"] = weight / shares[:, None]
    else:
        weight, shares = _norm(weight.float(), factors, 1.0 * isinstance(source, _OFFSET), stored)
        changed[f"{fold.source}.weight"] = weight
        factors = shares
    bias = getattr(source, "bias", None)
    if bias is not None:
        changed[f"{fold.source}.bias"] = bias.data / shares
    columns = fold.spread(factors)
    for name in fold.readers:
        before = block.get_submodule(name).get_parameter("weight").data
        changed[f"{name}.weight"] = before * columns
    for name, value in changed.items():
        block.get_parameter(name).data = value
    return changed


def _norm(
    weight: Tensor, factors: Tensor, offset: float, stored: torch.dtype
) -> tuple[Tensor, Tensor]:
    """A norm's new weight, as it will be stored, and the factors that it was divided by."""
    whole = weight + offset
    new = (whole / factors - offset).to(stored).float()
    # Where a rounded weight says nothing of a factor, the channel stays as it is.
    useful = (whole != 0) & (new + offset != 0) & torch.isfinite(new)
    new = torch.where(useful, new, weight)
    divided = torch.where(useful, whole / (new + offset), torch.ones_like(whole))
    # A weight so small that its rounding turns its sign or size is no place for a factor either.
    sound = (divided > factors / 2) & (divided < factors * 2)
    ones = torch.ones_like(whole)
    return torch.where(sound, new, weight), torch.where(sound, divided, ones)


def apply_folds(
    block: nn.Module, folds: Sequence[tuple[Fold, Tensor]], *, stored: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """`apply_fold`, one after the other; the new value of every parameter that changed."""
    changed: dict[str, Tensor] = {}
    for fold, factors in folds:
        changed |= apply_fold(block, fold, factors, stored=stored)
    return changed
