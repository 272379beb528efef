"""A store of the first positions and the last ones (Xiao et al. 2024, "StreamingLLM").

A text may then go on for ever in the same memory. The keys that are kept are as far from a query
as if nothing lay between the first and the last ones. There are two ways to have that: turn the
keys of the window back at each step, and let positions stand still (transformers' former
`SinkCache`), or turn the few first keys forward, and let positions go on. Rotary scores depend on
distances only, so both give the same scores; this is the second way. First keys are kept as they
came and turned by one angle at each update, so that no rounding adds up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch

from tfcli.models.caches.sliding import SlidingStore
from tfcli.models.caches.stores import Change, Store, lanes_of, numbered
from tfcli.models.layers.rotary import Rotary


class SinkStore(Store):
    """Keeps `sinks` positions of the beginning and the last `window - 1`.

    A pass of one token sees the sinks and `window` keys, its own among them. A pass of several
    sees all of itself, and what was kept before it.

    Args:
        sinks: positions of the beginning.
        window: keys that a query sees beside them, its own among them.
        rotary: how keys are turned.
        plain: first dimensions of a key that are not turned.
    """

    def __init__(self, sinks: int, window: int, rotary: Rotary, plain: int = 0) -> None:
        self.always = sinks
        self.form = f"the first {sinks} and the last {window - 1}"
        self.rotary, self.plain = rotary, plain
        self._rest = SlidingStore(window)
        self._first: tuple[torch.Tensor, ...] = ()
        self._next: tuple[torch.Tensor, ...] = ()

    @property
    def kept(self) -> int:
        return self._sinks + self._rest.kept

    @property
    def _sinks(self) -> int:
        return self._first[0].shape[2] if self._first else 0

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        sinks = self._sinks
        left = min(self.always - sinks, new[0].shape[2])
        self._next = self._first
        if left:  # nothing has been dropped yet
            more = tuple(x[:, :, :left] for x in new)
            old = self._first or tuple(x[:, :, :0] for x in new)
            self._next = tuple(torch.cat(pair, dim=2) for pair in zip(old, more, strict=True))
        dropped = self._rest.first_kept
        rest = self._rest.update(*(x[:, :, left:] for x in new))
        keys, *others = self._next
        first = (self._moved(keys, dropped), *others)
        return tuple(torch.cat(pair, dim=2) for pair in zip(first, rest, strict=True))

    def commit(self) -> None:
        self._first = self._next
        self._rest.commit()

    def reset(self) -> None:
        self._first = self._next = ()
        self._rest.reset()

    def tensors(self) -> list[torch.Tensor]:
        return [*self._first, *self._rest.tensors()]

    def apply(self, change: Change) -> None:
        self._first = self._next = tuple(map(change, self._first))
        self._rest.apply(change)

    def copy(self) -> Self:
        other = super().copy()
        other._rest = self._rest.copy()
        return other

    def why_not(self, length: int, past: int) -> str | None:
        sinks = self._sinks
        return self._rest.why_not(max(0, length - sinks), past - sinks)

    def crop(self, length: int, past: int) -> None:
        sinks = self._sinks
        self._first = self._next = tuple(x[:, :, :length] for x in self._first)
        self._rest.crop(max(0, length - sinks), past - sinks)

    def content(self) -> dict[str, torch.Tensor]:
        rest = self._rest.content().values()
        return numbered(torch.cat(pair, 2) for pair in zip(self._first, rest, strict=True))

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        self.reset()
        lanes = lanes_of(content)
        sinks = min(self.always, length)
        self._next = tuple(lane[:, :, :sinks] for lane in lanes)
        last = min(length - sinks, self._rest.window - 1)
        rest = numbered(lane[:, :, lane.shape[2] - last :] for lane in lanes)
        self._rest.restore(rest, length - sinks)

    def places(self, past: int | torch.Tensor, new: int) -> torch.Tensor | None:
        assert not isinstance(past, torch.Tensor)
        if not self._first:
            return None
        device = self._first[0].device
        sinks = min(self.always, past)
        last = torch.arange(sinks + self._rest.first_kept, past + new, device=device)
        return torch.cat((torch.arange(sinks, device=device), last))

    def _moved(self, keys: torch.Tensor, distance: int) -> torch.Tensor:
        """Keys turned on by so many positions. keys (Tensor): [b, heads, k, width] -> the same"""
        if distance == 0:
            return keys
        plain, turned = keys[..., : self.plain], keys[..., self.plain :]
        at = torch.tensor([[distance]], device=keys.device)
        cos, sin = self.rotary(at, torch.float32)
        factor = self.rotary.attention_factor  # it is in the keys already
        turned = self.rotary.turn(turned.float(), (cos / factor, sin / factor)).to(keys.dtype)
        return torch.cat((plain, turned), dim=-1)
