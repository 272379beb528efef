"""Hashes of tensors that can be made only once, noted while they are written."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from torch import Tensor

from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.casting import raw_bytes


class TensorHashes:
    """What was written, as a hash a tensor."""

    def __init__(self) -> None:
        self._noted: dict[str, tuple[object, ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._noted

    def noting(self, item: PendingTensor) -> PendingTensor:
        """The same tensor, whose hash is noted when it is read."""

        def read() -> Tensor:
            tensor = item.read()
            self._noted[item.name] = _mark(tensor)
            return tensor

        return replace(item, read=read)

    def matches(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor has the type, the shape and every bit of the one that was noted."""
        return self._noted[name] == _mark(tensor)


def _mark(tensor: Tensor) -> tuple[object, ...]:
    content = raw_bytes(tensor.detach().cpu()).numpy().data
    return tensor.dtype, tuple(tensor.shape), hashlib.sha256(content).digest()
