"""Where a model runs, and in which dtype."""

from __future__ import annotations

import torch

from tfcli.errors import UsageError


def pick_device(name: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: cuda is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("this machine has no CUDA device", where="device", fix="device: cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def pick_dtype(name: str) -> torch.dtype | None:
    """The torch dtype of a name such as `float32`; None for `auto`, which keeps what is stored."""
    return None if name == "auto" else getattr(torch, name)


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")
