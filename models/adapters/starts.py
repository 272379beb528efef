"""First values of LoRA's factors.

- default: A uniform, as a linear begins, and B of zeros; of a table A of zeros and B normal.
- gaussian: A normal with a deviation of 1 / rank, B of zeros.
- pissa: the largest singular values and their vectors (Meng et al. 2024).
- olora: the first columns of the orthogonal factor of W = QR (Büyükakyüz 2024).

The last two take the product of the factors out of the base's weight, so that the model computes
at first what it did.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tfcli.models.adapters.adalora import AdaLora
from tfcli.models.adapters.bases import is_packed
from tfcli.models.adapters.lora import Lora, LoraEmbedding
from tfcli.models.adapters.settings import MOVING_STARTS, Start
from tfcli.models.errors import ModelError
from tfcli.models.sharding import fill, whole

_DEVIATION = 0.02
Factors = tuple[Tensor, Tensor]


@torch.no_grad()
def begin(change: Lora, base: nn.Module, start: Start, seed: int, name: str) -> None:
    """Give the factors their first values, on the device where they are.

    Args:
        change: of `base`; on the meta device it stays without values.
        base: the module that is changed.
        start: how; one that changes the base is a module's that `require_movable` lets.
        seed: equal seeds and names give equal values, on every device.
        name: what the values follow from, beside the seed.
    """
    a, b = change.factors
    if a.is_meta:
        return
    if isinstance(change, LoraEmbedding):
        first, second = torch.zeros(a.shape), torch.randn(b.shape, generator=_drawing(seed, name))
    elif start in MOVING_STARTS:
        weight = base.get_parameter("weight")
        values = whole(weight.detach())
        first, second = _SPLIT[start](values.float(), change.rank, change.scale)
    else:
        first, second = torch.empty(a.shape), torch.zeros(b.shape)
        _DRAW[start](first, _drawing(seed, name))
    fill(a, first)
    fill(b, second)
    if start in MOVING_STARTS:
        change.take_out()
        wide = torch.promote_types(weight.dtype, torch.float32)
        taken = (second.to(wide) @ first.to(wide)) * change.scale
        fill(weight, (values.to(wide) - taken).to(weight.dtype))


@torch.no_grad()
def begin_values(change: AdaLora, seed: int, name: str) -> None:
    """The same of AdaLoRA: normal factors, as PEFT has them, and values of zero."""
    drawing = _drawing(seed, name)
    for factor in (change.lora_A, change.lora_B):
        fill(factor, torch.randn(factor.shape, generator=drawing) * _DEVIATION)
    change.lora_E.zero_()
    change.mask.fill_(1)


def require_movable(change: Lora, base: nn.Module, start: Start, name: str) -> None:
    """Refuse a start that takes something out of a weight that must stay as it is.

    Raises:
        ModelError: naming the module.
    """
    what = None
    if is_packed(base):
        what = "packed and stays as it is"
    elif isinstance(change, LoraEmbedding):
        what = "a table's, and they are a linear's"
    else:
        a, b = change.factors
        most = min(a.shape[1], b.shape[0])
        if change.rank > most:
            what = f"a matrix of no more than {most}"
    if what is not None:
        raise ModelError(
            f"start: {start} takes {change.rank} directions out of the weight, which is {what}",
            where=name,
            fix="take start: default",
        )


def _drawing(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _uniform(a: Tensor, generator: torch.Generator) -> None:
    bound = 1 / math.sqrt(a.shape[1])
    a.uniform_(-bound, bound, generator=generator)


def _gaussian(a: Tensor, generator: torch.Generator) -> None:
    a.normal_(0.0, 1 / a.shape[0], generator=generator)


def _pissa(weight: Tensor, rank: int, scale: float) -> Factors:
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    roots = (values[:rank] / scale).sqrt()
    return roots[:, None] * right[:rank], left[:, :rank] * roots


def _olora(weight: Tensor, rank: int, scale: float) -> Factors:
    # As in PEFT, the product is Q R of the first directions, times the scale.
    q, r = torch.linalg.qr(weight)
    return r[:rank], q[:, :rank]


_DRAW: dict[Start, Callable[[Tensor, torch.Generator], None]] = {
    "default": _uniform,
    "gaussian": _gaussian,
}
_SPLIT: dict[Start, Callable[[Tensor, int, float], Factors]] = {"pissa": _pissa, "olora": _olora}
