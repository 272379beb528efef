"""The caches of several texts as one, so that a forward pass goes on with all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tfcli.models.cache import Cache
from tfcli.models.caches.joined import joined
from tfcli.models.errors import ModelError


class JoinedCache(Cache):
    """Caches beside each other: a row each, of any length. A pass adds to every one of them.

    It is made for a pass, or for several of the same texts. Other changes are made to the caches
    themselves.

    Args:
        caches: of one text each, of one model, none of them empty.

    Raises:
        ModelError: a cache of fixed shape, an empty one, or one with virtual tokens.
    """

    def __init__(self, caches: Sequence[Cache]) -> None:
        for cache in caches:
            if isinstance(cache.past, torch.Tensor) or not cache.past or cache.virtual:
                raise ModelError(
                    "caches that are joined must hold a text each, without virtual tokens",
                    fix="use a cache of kind paged or dynamic, and read the text first",
                )
        slots = caches[0].stores
        super().__init__(
            {slot: joined([cache.stores[slot] for cache in caches]) for slot in slots},
            caches[0].device,
        )
        self.caches = caches
        self.past = max(cache.length for cache in caches)

    def attention_mask(self, new: int = 1) -> torch.Tensor | None:
        """Which columns are a row's own, int64 [b, kept + new] of 0/1; None: all of each."""
        lengths = [cache.length for cache in self.caches]
        longest = max(lengths)
        if min(lengths) == longest:
            return None
        begins = torch.tensor([longest - length for length in lengths])[:, None]
        return (torch.arange(longest + new) >= begins).long().to(self.device)

    def advance(self, new: int) -> None:
        super().advance(new)
        for cache in self.caches:
            cache.past += new
