"""LoRA: the product of two thin matrices beside a weight (Hu et al. 2021), and DoRA (Liu et al.
2024), which learns the length of each row of the changed weight apart from its direction."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfcli.models.adapters.bases import bias_of, sizes_of, weight_of
from tfcli.models.adapters.change import Change, Kept
from tfcli.models.layers.linear import Linear, product
from tfcli.models.sharding import fill, whole


class Lora(Change):
    """What LoRA of linears and of tables share.

    Args:
        rank: of the factors.
        alpha: their product is multiplied by alpha / rank, or alpha / sqrt(rank) with `rslora`.
        rslora: see there.
        dropout: share of inputs that the factors do not see while training.

    Attributes:
        lora_magnitude_vector (Tensor): DoRA's lengths, or None.
        first_a (Tensor): [rank, in], the first factor at the start, where a start took the product
            out of the base's weight; else None.
        first_b (Tensor): [out, rank], the second.
    """

    lora_magnitude_vector: nn.Parameter | None
    first_a: Tensor | None
    first_b: Tensor | None

    def __init__(self, rank: int, alpha: float, *, rslora: bool, dropout: float) -> None:
        super().__init__()
        self.rank, self.alpha, self.rslora = rank, alpha, rslora
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.register_parameter("lora_magnitude_vector", None)
        self.register_buffer("first_a", None)
        self.register_buffer("first_b", None)

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    @abstractmethod
    def factors(self) -> tuple[Tensor, Tensor]:
        """A [rank, in] and B [out, rank]."""

    @property
    def whole_factors(self) -> tuple[Tensor, Tensor]:
        """A and B whose product, times `scale`, is the change of the base as it was at first: of
        twice the rank where a start took something out of it."""
        a, b = (whole(each.detach()) for each in self.factors)
        if self.first_a is None or self.first_b is None:
            return a, b
        return torch.cat([a, self.first_a.to(a)]), torch.cat([b, -self.first_b.to(b)], dim=1)

    def take_out(self) -> None:
        """Remember the factors as they are as those whose product the base's weight lacks."""
        a, b = (whole(each.detach()) for each in self.factors)
        self.first_a, self.first_b = a.clone(), b.clone()

    def add_lengths(self) -> None:
        """Learn lengths too (DoRA); `start_lengths` gives them."""
        b = self.factors[1]
        self.lora_magnitude_vector = nn.Parameter(torch.empty(b.shape[0], dtype=b.dtype))

    def start_lengths(self, base: nn.Module) -> None:
        """Begin with the lengths that the weight has."""
        assert self.lora_magnitude_vector is not None, "they were added"
        fill(self.lora_magnitude_vector, self._lengths(base))

    @property
    def whole_rank(self) -> int:
        """The rank of `whole_factors`."""
        return self.rank if self.first_a is None else 2 * self.rank

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        dora = ", dora" if self.lora_magnitude_vector is not None else ""
        return f"rank={self.rank}, scale={self.scale:g}{dora}"

    @abstractmethod
    def _delta(self, dtype: torch.dtype) -> Tensor:
        """The change in the weight's own shape."""

    @torch.no_grad()
    def _lengths(self, base: nn.Module) -> Tensor:
        """The length of each row of the changed weight; of a table, of each column. No gradient
        goes through it, as the paper has it."""
        dtype = self.factors[0].dtype
        changed = weight_of(base, dtype) + self._delta(dtype)
        return torch.linalg.vector_norm(changed, dim=self._length_dim)

    _length_dim = 1

    def _stretch(self, base: nn.Module) -> Tensor | None:
        """DoRA's factor on outputs, [out]."""
        if self.lora_magnitude_vector is None:
            return None
        return self.lora_magnitude_vector / self._lengths(base)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        changed = weight.detach().to(wide) + self._delta(wide)
        if self.lora_magnitude_vector is not None:
            lengths = torch.linalg.vector_norm(changed, dim=self._length_dim, keepdim=True)
            wanted = whole(self.lora_magnitude_vector.detach()).to(wide)
            changed *= wanted.view_as(lengths) / lengths
        return changed.to(weight.dtype), bias

    def undone(self, weight: Tensor) -> Tensor:
        if self.first_a is None or self.first_b is None:
            return weight
        wide = torch.promote_types(weight.dtype, torch.float32)
        taken = self.first_b.to(wide) @ self.first_a.to(wide)
        return (weight.detach().to(wide) + taken * self.scale).to(weight.dtype)


class LoraLinear(Lora):
    """LoRA of a linear.

    Args:
        base: the linear.
        bias: the second factor has a bias, `lora_bias` of PEFT.
    """

    def __init__(
        self,
        base: nn.Module,
        rank: int,
        alpha: float,
        *,
        rslora: bool = False,
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__(rank, alpha, rslora=rslora, dropout=dropout)
        inputs, outputs = sizes_of(base)
        self.lora_A = Linear(inputs, rank, bias=False)
        self.lora_B = Linear(rank, outputs, bias=bias)

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        return self.lora_A.weight, self.lora_B.weight

    def after(self, x: Tensor, result: Tensor, plain: Tensor, base: nn.Module) -> Tensor:
        given = self.dropout(x.to(self.lora_A.weight.dtype))
        added = self.lora_B(self.lora_A(given)) * self.scale
        stretch = self._stretch(base)
        if stretch is None:
            return (result + added).to(result.dtype)
        if self.training and isinstance(self.dropout, nn.Dropout):
            unmoved = product(given, weight_of(base, given.dtype), None)
        else:
            bias = bias_of(base)
            unmoved = plain if bias is None else plain - bias.to(plain.dtype)
        return (result + (stretch - 1) * unmoved + stretch * added).to(result.dtype)

    def absent(self, x: Tensor, result: Tensor) -> Tensor:
        if self.first_a is None or self.first_b is None:
            return result
        given = x.to(self.first_a.dtype)
        taken = F.linear(F.linear(given, self.first_a), self.first_b) * self.scale
        return (result + taken).to(result.dtype)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        made, _ = super().merged(weight, None)
        own = self.lora_B.bias
        if own is None:
            return made, bias
        shift = own.detach().float() * self.scale
        return made, (shift if bias is None else bias.detach().float() + shift).to(weight.dtype)

    def kept(self) -> dict[str, Kept]:
        found = super().kept()
        if self.first_a is None:
            return found
        a, b = self.factors
        shapes = (self.whole_rank, a.shape[1]), (b.shape[0], self.whole_rank)
        for number, name in enumerate(("lora_A.weight", "lora_B.weight")):
            read = partial(self._whole_factor, number)
            found[name] = Kept(shapes[number], found[name].dtype, read)
        return found

    def _whole_factor(self, number: int) -> Tensor:
        return self.whole_factors[number]

    def _delta(self, dtype: torch.dtype) -> Tensor:
        a, b = (whole(each.detach()).to(dtype) for each in self.factors)
        return (b @ a) * self.scale


class LoraEmbedding(Lora):
    """LoRA of a table: the first factor is looked up, the second multiplies what was found.

    Args:
        base: the table.
    """

    _length_dim = 0

    def __init__(
        self,
        base: nn.Module,
        rank: int,
        alpha: float,
        *,
        rslora: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(rank, alpha, rslora=rslora, dropout=dropout)
        rows, width = sizes_of(base)
        self.lora_embedding_A = nn.Parameter(torch.empty(rank, rows))
        self.lora_embedding_B = nn.Parameter(torch.empty(width, rank))

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        return self.lora_embedding_A, self.lora_embedding_B

    def after(self, x: Tensor, result: Tensor, plain: Tensor, base: nn.Module) -> Tensor:
        a, b = self.factors
        # PEFT has no dropout here either: what is looked up are ids.
        added = F.linear(F.embedding(x, a.t()), b) * self.scale
        stretch = self._stretch(base)
        if stretch is None:
            return (result + added).to(result.dtype)
        return (result + (stretch - 1) * plain + stretch * added).to(result.dtype)

    def _delta(self, dtype: torch.dtype) -> Tensor:
        a, b = (whole(each.detach()).to(dtype) for each in self.factors)
        return (b @ a).t() * self.scale
