"""DeepSpeed, where it is installed and can do what is asked of it."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

from tfcli.errors import UsageError


def deepspeed_for(device: torch.device) -> Any:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cpu" if device.type == "cpu" else "cuda")
    try:
        import deepspeed
    except ImportError as error:
        raise UsageError(
            "strategy: zero1, zero2 and zero3 need deepspeed, which is not installed",
            where="strategy",
            fix="pip install 'tfcli[deepspeed]', or strategy: fsdp",
        ) from error
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # It would be compiled at each first start, behind a lock that a killed process leaves closed,
    # and say so on standard output; gloo serves.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def require_files(device: torch.device, where: str) -> None:
    """Refuse to keep anything in files where the library that reads and writes them is missing.

    Raises:
        UsageError: libaio is not there, or not what programs are built with.
    """
    deepspeed_for(device)
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible():
        raise UsageError(
            "nvme needs libaio with its header, which DeepSpeed builds its reader of files with",
            where=where,
            fix="install libaio-dev (Debian) or libaio-devel (Fedora); or keep it on the cpu",
        )
