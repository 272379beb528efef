"""A GGUF file as a Hugging Face checkpoint: the plan, and the values of each tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.gguf.choose import common_type
from tfcli.checkpoints.gguf.config_of import model_config, model_dialect
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.names import stays_single
from tfcli.checkpoints.gguf.origins import Origin, plan_origins
from tfcli.checkpoints.gguf.own_keys import Record, read_record
from tfcli.checkpoints.gguf.rules import AddOne, Dialect
from tfcli.checkpoints.gguf.split import open_gguf
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.gguf.vocabulary_read import Vocabulary, read_vocabulary
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.dtypes import TORCH_NAMES, torch_dtype
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

_FROM_QUANTIZED = "F16"  # what quantized tensors become where nothing says otherwise


@dataclass(frozen=True)
class FromGGUF:
    """A conversion that is planned: the header was read, values were not.

    Args:
        file: the opened GGUF file.
        dialect: the model type's names.
        config: the content of config.json.
        sizes: the config's numbers, which the rules ask for.
        origins: where each tensor of the checkpoint comes from.
        dtypes: name -> safetensors type of each.
        record: what the file keeps of the checkpoint that it was made from.
        vocabulary: the tokenizer; None where the file has none.
    """

    file: GGUFFile
    dialect: Dialect
    config: dict[str, Any]
    sizes: Any
    origins: list[Origin]
    dtypes: dict[str, str]
    record: Record
    vocabulary: Vocabulary | None

    def pending(self, origin: Origin) -> PendingTensor:
        """A tensor of the checkpoint, to be written."""
        code = self.dtypes[origin.name]
        return PendingTensor(origin.name, code, origin.shape, partial(self.read, origin))

    def read(self, origin: Origin) -> Tensor:
        """The values of a tensor of the checkpoint, in its type."""
        dtype = torch_dtype(self.dtypes[origin.name])
        exact = isinstance(origin.change, AddOne)
        tensor = self.file.dequantize(origin.stored, None if exact else dtype, origin.index)
        if isinstance(origin.change, AddOne):
            return origin.change.restore(tensor, self._remainder(origin)).to(dtype)
        changed = tensor if origin.change is None else origin.change.read(tensor, self.sizes)
        return changed.contiguous()

    def _remainder(self, origin: Origin) -> Tensor | None:
        import torch

        found = self.record.remainders.get(origin.stored)
        if found is None or len(found) != math.prod(origin.shape):
            return None
        return torch.tensor(found, dtype=torch.float32).reshape(origin.shape)


def _none(name: str) -> bool:
    return False


def plan_from_gguf(path: Path, exact: Callable[[str], bool] = _none) -> FromGGUF:
    """Plan a conversion from the file's header alone.

    Tensors get the types of the checkpoint that the file was made from, where it says; else they
    keep theirs, and quantized ones become F16.

    Args:
        path: the GGUF file.
        exact: which tensors, by their names in the file, come in a type that loses nothing: as they
            are stored, quantized ones F32.

    Raises:
        WorkError: a broken file, or an architecture or tokenizer that is not covered.
        ModelError: a config that is not supported.
    """
    file = open_gguf(path)
    where = str(path)
    record = read_record(file.metadata, where)
    dialect = model_dialect(file, record, where)
    config, sizes = model_config(file, dialect, record, where)
    origins = plan_origins(file.tensors, dialect, record.bare, where)
    _require_stacks(file, sizes, where)
    dtypes = {
        origin.name: _dtype_of(file, record, origin, exact(origin.stored)) for origin in origins
    }
    _set_dtype(config, dtypes)
    vocabulary = read_vocabulary(file.metadata, where)
    return FromGGUF(file, dialect, config, sizes, origins, dtypes, record, vocabulary)


def _require_stacks(file: GGUFFile, sizes: Any, where: str) -> None:
    for name, info in file.tensors.items():
        if "_exps." in name and info.shape[:1] != (sizes.num_experts,):
            raise WorkError(
                f"{name} holds {info.shape[:1]} experts, the config says {sizes.num_experts}",
                where=where,
            )


def _dtype_of(file: GGUFFile, record: Record, origin: Origin, exact: bool) -> str:
    info = file.info(origin.stored)
    if exact:
        return info.dtype if BY_NAME[info.dtype].plain else "F32"
    known = record.dtype_of(origin.name)
    if known is not None:
        return known
    if not BY_NAME[info.dtype].plain:
        return _FROM_QUANTIZED
    if stays_single(origin.stored, len(info.shape)):
        return _narrowed(file, origin)
    return info.dtype


def _narrowed(file: GGUFFile, origin: Origin) -> str:
    """The type of most tensors, where a norm or bias loses nothing in it; else float32."""
    import torch

    plain = [i for i in file.tensors.values() if not stays_single(i.name, len(i.shape))]
    wanted = common_type(plain) if any(BY_NAME[i.dtype].plain for i in plain) else _FROM_QUANTIZED
    values = file.dequantize(origin.stored)
    if isinstance(origin.change, AddOne):
        values = origin.change.restore(values, None).float()
    narrow = values.to(torch_dtype(wanted))
    return wanted if torch.equal(narrow.float(), values.float()) else "F32"


def _set_dtype(config: dict[str, Any], dtypes: Mapping[str, str]) -> None:
    """config.json names the type of most tensors."""
    if not dtypes:
        return
    codes = list(dtypes.values())
    name = TORCH_NAMES[max(set(codes), key=codes.count)]
    for key in ("dtype", "torch_dtype"):
        if config.get(key, name) != name or key in config:
            config[key] = name
    if "dtype" not in config and "torch_dtype" not in config:
        config["dtype"] = config["torch_dtype"] = name
