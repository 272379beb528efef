"""torch's AdamW, without torch's compiler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

_TAKE = inspect.unwrap(torch.optim.AdamW.add_param_group)
_STEP = inspect.unwrap(torch.optim.AdamW.step)


class AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov & Hutter 2019) as torch has it.

    torch says of two methods where a compiler has to break off, and imports the whole compiler to
    say so, which takes as long as hundreds of steps of a small model. No step of an optimizer is
    compiled here: the methods are called without what says that.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take a group of parameters."""
        _TAKE(self, param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter with a gradient."""
        _STEP(self, closure)
