"""What a checkpoint is, whatever its container: a config and tensors, in Hugging Face's terms.

A container's reader makes one without reading its data: each tensor says from which stored tensors
it comes, and makes its values when it is asked. Every verb takes a checkpoint, so every verb takes
every container; a writer takes one, and what was written is checked by reading it again as one.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.bound import most_values
from tfcli.checkpoints.dialect.pieces import entry_of
from tfcli.checkpoints.io.file_tensor import FileTensor, Values, values_from
from tfcli.checkpoints.io.header import data_bytes
from tfcli.checkpoints.located import located
from tfcli.checkpoints.ties import config_ties
from tfcli.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.models.config import BaseConfig


@dataclass(frozen=True)
class TensorEntry:
    """One tensor under its Hugging Face name.

    Args:
        name: Hugging Face's.
        dtype: safetensors code of the values that `read` makes.
        shape: of these values, in elements.
        sources: the stored tensors that it is made of, as the container names them.
        how: what is done to them, for the plan; empty where they are taken as they are.
        read: makes the values; a `FileTensor` where nothing need be computed.
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
    def values(self) -> Values:
        """The values to go through once: those that need no computing are read piece by piece."""
        return values_from(self.read)

    @property
    def nbytes(self) -> int:
        """The bytes of its values."""
        return data_bytes(self.dtype, self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint; nothing of its data has been read.

    Args:
        container: its name, such as `hf` or `meta`.
        path: what was opened.
        config: the content of config.json, made from the container's own where it has none; empty
            where there is none at all.
        tensors: in the container's order.
        files: the files that hold them.
        companions: the folder whose tokenizer and other files go along, or None.
        unused: stored tensors that are in no tensor of the checkpoint -> why.
        metadata: texts that stand in the files' headers beside the tensors.
        carry: writes what the companions lack into the target folder, after they are there, and
            gives the names of the files; None where nothing is to be made.
        notes: what a person should know of how it was opened.
        adapter: the folder of an adapter that a model of these tensors is loaded with.
    """

    container: str
    path: Path
    config: dict[str, Any]
    tensors: dict[str, TensorEntry]
    files: tuple[Path, ...]
    companions: Path | None = None
    unused: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    carry: Callable[[Path], list[str]] | None = None
    notes: tuple[str, ...] = ()
    adapter: Path | None = None

    def __iter__(self) -> Iterator[TensorEntry]:
        return iter(self.tensors.values())

    @property
    def weights(self) -> Weights:
        """The values by name, each made when it is asked for."""
        return Weights(self.tensors)

    @cached_property
    def ties(self) -> dict[str, str]:
        """Tensor name -> the name that the config ties it to, whether or not it is stored."""
        return config_ties(self.config)

    @cached_property
    def tied(self) -> dict[str, str]:
        """Those of `ties` that are stored beside their partner, in the checkpoint's spelling."""
        return config_ties(self.config, self.tensors)

    @property
    def distinct(self) -> list[str]:
        """The stored names, each tied pair once."""
        return [name for name in self.tensors if name not in self.tied]

    @cached_property
    def model_config(self) -> BaseConfig:
        """The config as its family's dataclass.

        Raises:
            ModelError: an unknown model_type, or a value that is not supported; names the path.
        """
        from tfcli.models.registry import read_config

        try:
            return read_config(self.config)
        except ModelError as error:
            raise located(error, self.path) from error

    @property
    def most_values(self) -> int:
        """How many values a model may have to belong to these tensors."""
        return most_values(self.config, (tensor.shape for tensor in self))

    @property
    def is_quantized(self) -> bool:
        """Whether the config declares packed weights."""
        return self.config.get("quantization_config") is not None

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

    @cached_property
    def beside(self) -> Path:
        """A folder with the tokenizer, the generation config and the other files that go along.

        It is the checkpoint's own folder, or where the container has them inside, a temporary one
        that lives as long as this object.
        """
        if self.carry is None and self.companions is not None:
            return self.companions
        folder = Path(self._temporary.name)
        self.carry_along(folder)
        return folder

    def carry_along(self, folder: Path) -> list[str]:
        """Put the tokenizer and the other files that go along into a folder.

        Returns:
            Their names.
        """
        from tfcli.checkpoints.beside import copy_companions

        names = [] if self.companions is None else copy_companions(self.companions, folder)
        names += [] if self.carry is None else self.carry(folder)
        return list(dict.fromkeys(names))

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="tfcli-")


@dataclass(frozen=True)
class Weights(Mapping[str, "Tensor"]):
    """Values by name; each is made when it is asked for.

    Args:
        tensors: what makes them.
    """

    tensors: Mapping[str, TensorEntry]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name].read()

    def entry(self, name: str, number: int) -> Tensor:
        """One entry of a tensor's first dimension; no more is read where that can be told."""
        return entry_of(self.tensors[name].read, number)()

    def unread(self, name: str) -> FileTensor | None:
        """A tensor of which parts can be read; None where all of it must be made."""
        read = self.tensors[name].read
        return read if isinstance(read, FileTensor) else None

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        # Mapping's own test would read the tensor.
        return name in self.tensors
