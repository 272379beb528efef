"""Tensors that overlap in a file of torch.save lie in the same memory when they are read.

A storage may be much larger than the tensors that are views of it, so it is not read whole: what
overlaps is a span, and each span is kept only while a tensor of it is held.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from tfcli.checkpoints.io.dtypes import torch_dtype
from tfcli.checkpoints.io.file_tensor import own_memory
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.torch.pickle.values import StoredTensor

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class SharedSpans:
    """Reads tensors of a file, and those that overlap into one memory.

    Args:
        file: the opened file.
        tensors: those that may overlap; others are read by themselves.
    """

    def __init__(self, file: OpenedFile, tensors: Iterable[StoredTensor]) -> None:
        self._file = file
        self._spans = _overlaps(tensors)
        self._held: WeakValueDictionary[tuple[int, int], np.ndarray] = WeakValueDictionary()
        self._lock = threading.Lock()

    def read(self, stored: StoredTensor, where: str) -> Tensor:
        """The values of a tensor, with its strides.

        Args:
            stored: its place.
            where: file and tensor, for errors.

        Raises:
            WorkError: the file changed or cannot be read, or torch lacks the type.
        """
        import torch

        dtype = torch_dtype(stored.dtype, where=where)
        if not stored.elements:
            return torch.empty(stored.shape, dtype=dtype)
        own = (stored.start, stored.start + stored.extent * dtype.itemsize)
        span = self._spans.get(id(stored))
        memory = self._read(own) if span is None else self._shared(span)
        first = own[0] - (span or own)[0]
        raw = torch.from_numpy(memory)[first : first + own[1] - own[0]]
        return raw.view(dtype).as_strided(stored.shape, stored.stride)

    def _shared(self, span: tuple[int, int]) -> np.ndarray:
        with self._lock:
            held = self._held.get(span)
            if held is None:
                held = self._held[span] = self._read(span)
            return held

    def _read(self, span: tuple[int, int]) -> np.ndarray:
        # torch keeps the array, and with it the entry of `_held`, as long as the memory is used.
        memory = own_memory(span[1] - span[0]).numpy()
        with self._file.reading() as reader:
            reader.into(span[0], memory.data)
        return memory


def _overlaps(tensors: Iterable[StoredTensor]) -> dict[int, tuple[int, int]]:
    """id of each tensor that overlaps another of its type -> where in the file all that overlap
    begin and end.
    """
    ordered = sorted(
        (one.dtype, one.start, one.start + one.extent * one.itemsize, id(one))
        for one in tensors
        if one.elements
    )
    groups: list[tuple[str, int, int, list[int]]] = []
    for dtype, start, end, key in ordered:
        if groups and groups[-1][0] == dtype and start < groups[-1][2]:
            _, first, last, keys = groups.pop()
            keys.append(key)
            groups.append((dtype, first, max(last, end), keys))
        else:
            groups.append((dtype, start, end, [key]))
    return {key: (first, last) for _, first, last, keys in groups if len(keys) > 1 for key in keys}


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of values in row-major order."""
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
