"""A model that torch runs, as a benchmark sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class TorchSide(ABC):
    """A loaded model.

    Attributes:
        model: the module; its parameters and buffers are its weights.
        unpacked: packed weights were unpacked at load.
        vocabulary: token ids are below this.
    """

    model: nn.Module
    unpacked: bool = False
    vocabulary: int

    @abstractmethod
    def make_cache(self, length: int) -> Any:
        """An empty cache for texts of so many tokens."""

    @abstractmethod
    def forward(self, ids: Tensor, cache: Any) -> Tensor:
        """ids (Tensor): int64 [b, s] -> logits after the last of them, [b, vocab]; the cache
        grows."""

    @abstractmethod
    def loss(self, ids: Tensor) -> Tensor:
        """ids (Tensor): int64 [b, s] -> the mean loss of each id given those before it, []."""

    @abstractmethod
    def cache_bytes(self, cache: Any) -> int:
        """Bytes that a cache holds, room for positions to come included."""

    def filled_bytes(self, cache: Any) -> int:
        """Bytes of what a cache has seen, which the next step reads."""
        return self.cache_bytes(cache)
