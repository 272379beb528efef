"""AdaLoRA: a product of three factors, as a singular value decomposition has them, whose values of
little use are set to zero while it is trained (Zhang et al. 2023)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfcli.models.adapters.bases import sizes_of
from tfcli.models.adapters.change import Change, Kept
from tfcli.models.adapters.settings import Allocation
from tfcli.models.sharding import whole

_SMALL = 1e-5
"""PEFT adds it to the rank that it divides by, which may be zero there."""


class AdaLora(Change):
    """B diag(E) A beside the weight of a linear.

    Args:
        base: the linear.
        rank: of the factors at first.
        alpha: their product is multiplied by alpha / rank, whatever rank is left of it.
        dropout: share of inputs that the factors do not see while training.
        allocation: how ranks are shared out in training.

    Attributes:
        lora_A (Tensor): [rank, in]
        lora_E (Tensor): [rank, 1]
        lora_B (Tensor): [out, rank]
        mask (Tensor): [rank], 1 for the values that are left and 0 for the others.
    """

    mask: Tensor

    def __init__(
        self,
        base: nn.Module,
        rank: int,
        alpha: float,
        *,
        dropout: float = 0.0,
        allocation: Allocation,
    ) -> None:
        super().__init__()
        inputs, outputs = sizes_of(base)
        self.rank, self.alpha, self.allocation = rank, alpha, allocation
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.lora_A = nn.Parameter(torch.empty(rank, inputs))
        self.lora_E = nn.Parameter(torch.empty(rank, 1))
        self.lora_B = nn.Parameter(torch.empty(outputs, rank))
        self.register_buffer("mask", torch.ones(rank))

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by."""
        return self.alpha / (self.rank + _SMALL)

    def after(self, x: Tensor, result: Tensor, plain: Tensor, base: nn.Module) -> Tensor:
        given = self.dropout(x.to(self.lora_A.dtype))
        added = F.linear(F.linear(given, self.lora_A * self.lora_E), self.lora_B) * self.scale
        return (result + added).to(result.dtype)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        a, e, b = (
            whole(each.detach()).to(wide) for each in (self.lora_A, self.lora_E, self.lora_B)
        )
        return (weight.detach().to(wide) + (b @ (a * e)) * self.scale).to(weight.dtype), bias

    def unevenness(self) -> Tensor:
        """How far the rows of A and the columns of B are from being orthonormal: the sum of both
        Frobenius norms, []. The loss gets a share of it."""
        a, b = self.lora_A, self.lora_B
        one = torch.eye(self.rank, dtype=a.dtype, device=a.device)
        return torch.linalg.matrix_norm(a @ a.T - one) + torch.linalg.matrix_norm(b.T @ b - one)

    def kept(self) -> dict[str, Kept]:
        """The ranks that are left."""
        left = self.mask.bool()
        count = int(left.sum())
        found = {}
        for leaf, kept in super().kept().items():
            dim = 1 if leaf == "lora_B" else 0
            shape = list(kept.shape)
            shape[dim] = count
            read = partial(_chosen, kept, dim, left)
            found[leaf] = Kept(tuple(shape), kept.dtype, read)
        return found

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"rank={int(self.mask.sum())} of {self.rank}, scale={self.scale:g}"


def _chosen(kept: Kept, dim: int, left: Tensor) -> Tensor:
    return kept.read().index_select(dim, left.nonzero().flatten())
