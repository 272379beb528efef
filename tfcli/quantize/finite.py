"""No NaN or infinity is quantized, kept or written."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.checkpoints.io.tensor_pieces import is_finite
from tfcli.errors import WorkError


def require_finite(name: str, value: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        WorkError: names the tensor.
    """
    if not value.is_floating_point():
        return
    if value.dtype.itemsize == 1:
        value = value.to(torch.bfloat16)  # torch does not ask 8-bit floats
    if not is_finite(value):
        raise WorkError(
            "holds NaN or infinity",
            where=name,
            fix="check the checkpoint: it may come from a run that diverged",
        )
