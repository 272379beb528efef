"""What every container looks like to the converter: a config and tensors, in Hugging Face's terms.

A reader makes a view of a checkpoint without reading its data: each tensor of the view says from
which stored tensors it comes, and makes its values when it is asked. A writer takes a view. So any
reader goes with any writer, and what was written is checked by reading it again as a view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.io.header import data_bytes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ViewTensor:
    """One tensor under its Hugging Face name.

    Args:
        name: Hugging Face's.
        dtype: safetensors code of the values that `read` makes.
        shape: of these values, in elements.
        sources: the stored tensors that it is made of, as the container names them.
        how: what is done to them, for the plan; empty where they are taken as they are.
        read: makes the values; a mapped view where nothing need be computed.
        stored: the type that the container holds them in, where it is another one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    how: str
    read: Callable[[], Tensor]
    stored: str = ""

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of its values."""
        return data_bytes(self.dtype, self.shape)


@dataclass(frozen=True)
class View:
    """A checkpoint.

    Args:
        kind: the container, such as `hf` or `meta`.
        path: what was opened.
        config: the content of config.json, made from the container's own where it has none.
        tensors: in the container's order.
        files: the files that hold them.
        companions: the folder whose tokenizer and other files go along, or None.
        unused: stored tensors that are in no tensor of the view -> why.
        metadata: texts that stand in the files' headers beside the tensors.
        carry: writes what the companions lack into the target folder, after they are there, and
            gives the names of the files; None where nothing is to be made.
    """

    kind: str
    path: Path
    config: dict[str, Any]
    tensors: dict[str, ViewTensor]
    files: tuple[Path, ...]
    companions: Path | None = None
    unused: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    carry: Callable[[Path], list[str]] | None = None

    def __iter__(self) -> Iterator[ViewTensor]:
        return iter(self.tensors.values())

    @property
    def nbytes(self) -> int:
        """The bytes of all values."""
        return sum(tensor.nbytes for tensor in self)

    @property
    def stored_bytes(self) -> int:
        """The bytes of the files."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def largest(self) -> int:
        """The bytes of the largest tensor."""
        return max((tensor.nbytes for tensor in self), default=0)
