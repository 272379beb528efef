"""How many bytes tensors hold while something runs, whatever the allocator keeps beside them."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Held(TorchDispatchMode):
    """Counts the bytes of what operations of this thread give, for as long as it is held.

    Attributes:
        now: bytes that are held.
        most: that were held at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = {each.untyped_storage()._cdata for each in _tensors((args, kwargs))}
        made = function(*args, **(kwargs or {}))
        for each in _tensors(made):
            storage = each.untyped_storage()
            if storage._cdata not in self._known and storage._cdata not in given:
                self._take(storage)
        return made

    def _take(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known[key] = weakref.ref(storage, lambda _: self._give(key)), size
        self.now += size
        self.most = max(self.most, self.now)

    def _give(self, key: int) -> None:
        self.now -= self._known.pop(key)[1]


def _tensors(tree: Any) -> list[torch.Tensor]:
    leaves = (each for each in tree_leaves(tree) if isinstance(each, torch.Tensor))
    return [each for each in leaves if each.device.type == "cpu"]
