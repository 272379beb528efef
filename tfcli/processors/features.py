"""What a processor gives: tensors by the names that a model takes them under."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor


class Features(dict[str, Any]):
    """Name -> tensor, as `model(**features)` takes them; `features.pixel_values` is one of them."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r} among {list(self)}") from None

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """The same on another device, and numbers with fractions in another dtype."""
        return type(self)({name: _moved(value, device, dtype) for name, value in self.items()})


def _moved(value: Any, device: torch.device | str | None, dtype: torch.dtype | None) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
