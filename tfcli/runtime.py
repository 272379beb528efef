"""Where a model runs, and in which dtype."""

from __future__ import annotations

import torch

from tfcli.errors import UsageError


def pick_device(name: str) -> torch.device:
    """The device of `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    `cuda:N` becomes the process's current device too, for what asks for cuda alone.

    Raises:
        UsageError: the machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UsageError("this machine has no CUDA device", where="device", fix="device: cpu")
        if device.index is not None:
            if device.index >= count:
                raise UsageError(
                    f"there is no {name}: this machine has cuda:0 to cuda:{count - 1}",
                    where="device",
                )
            torch.cuda.set_device(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("this machine has no Apple GPU (mps)", where="device", fix="device: cpu")
    return device


def pick_dtype(name: str) -> torch.dtype | None:
    """The torch dtype of a name such as `float32`; None for `auto`, which keeps what is stored."""
    return None if name == "auto" else getattr(torch, name)


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")
