"""Key/value caches. A layer gives its new keys and values and gets all of them back."""

from __future__ import annotations

from typing import Protocol

import torch

from tfcli.models.config import ModelConfig
from tfcli.models.errors import ModelError


class Cache(Protocol):
    """What attention layers need of a cache."""

    @property
    def length(self) -> int:
        """How many positions are stored."""
        ...

    def update(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new positions of one layer.

        Args:
            layer: index of the layer, counted from 0.
            key (Tensor): [b, kv_heads, s, head_dim]
            value (Tensor): [b, kv_heads, s, head_dim]

        Returns:
            all keys and all values so far, each [b, kv_heads, length, head_dim]
        """
        ...


class DynamicCache:
    """Grows with each call. Takes its shape, dtype and device from what is stored."""

    def __init__(self) -> None:
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    @property
    def length(self) -> int:
        return self.keys[0].shape[2] if self.keys else 0

    def update(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat((self.keys[layer], key), dim=2)
            self.values[layer] = torch.cat((self.values[layer], value), dim=2)
        return self.keys[layer], self.values[layer]


class StaticCache:
    """Allocated once; new positions are written in place, so a step copies nothing old.

    Args:
        config: gives the number of layers and the shape of a position.
        batch_size: rows.
        max_length: positions that fit.
        dtype: of keys and values.
        device: where they live.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch_size, config.num_key_value_heads, max_length, config.head_dim)
        layers = range(config.num_hidden_layers)
        self.max_length = max_length
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self._lengths = [0 for _ in layers]

    @property
    def length(self) -> int:
        return self._lengths[0] if self._lengths else 0

    def reset(self) -> None:
        """Forget every position, keep the memory."""
        self._lengths = [0] * len(self._lengths)

    def update(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start = self._lengths[layer]
        end = start + key.shape[2]
        if end > self.max_length:
            raise ModelError(
                f"the static cache holds {self.max_length} positions, but {end} are needed",
                fix="make the cache longer, or generate fewer tokens",
            )
        self.keys[layer][:, :, start:end] = key
        self.values[layer][:, :, start:end] = value
        self._lengths[layer] = end
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]
