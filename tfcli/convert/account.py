"""What a conversion's result says of a tensor."""

from __future__ import annotations

from tfcli.checkpoints.plan import Planned
from tfcli.convert.spec import TensorAccount


def account(item: Planned) -> TensorAccount:
    """The account of one planned tensor."""
    tensor = item.tensor
    return TensorAccount(
        name=tensor.name,
        action=item.action,
        sources=list(tensor.sources),
        how=tensor.how,
        shape=list(tensor.shape),
        source_dtype=tensor.dtype,
        dtype=item.dtype,
        bytes=item.nbytes,
    )
