"""A GGUF file as a Hugging Face checkpoint: the plan, and the values of each tensor."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.pieces import Read
from tfcli.checkpoints.dialect.ranks import join
from tfcli.checkpoints.gguf.choose import common_type, stays_single
from tfcli.checkpoints.gguf.config_of import model_config, model_dialect
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.own_keys import REMAINDER, Record, read_record
from tfcli.checkpoints.gguf.packed import ROWS
from tfcli.checkpoints.gguf.rules import GGUFDialect
from tfcli.checkpoints.gguf.split import open_gguf
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.gguf.vocabulary_read import Vocabulary, read_vocabulary
from tfcli.checkpoints.io.dtypes import TORCH_NAMES, torch_dtype
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

# What quantized tensors become where nothing says otherwise: activations of several families are
# beyond what float16 holds.
_FROM_QUANTIZED = "BF16"


@dataclass(frozen=True)
class FromGGUF:
    """A conversion that is planned: the header was read, values were not.

    Args:
        file: the opened GGUF file.
        dialect: the model type's names.
        config: the content of config.json.
        sizes: the config.
        tensors: of the checkpoint, by name.
        passed: keys of the file that are passed over -> why.
    """

    file: GGUFFile
    dialect: GGUFDialect
    config: dict[str, Any]
    sizes: Any
    tensors: dict[str, TensorEntry]
    passed: dict[str, str]

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The tokenizer; None where the file has none. The weights are read without it.

        Raises:
            WorkError: keys that contradict each other, or a kind that is not covered.
        """
        rows = self.file.info("token_embd.weight").shape[0]
        return read_vocabulary(self.file.metadata, str(self.file.path), rows)


def _none(name: str) -> bool:
    return False


def plan_from_gguf(
    path: Path, exact: Callable[[str], bool] = _none, *, packed: Collection[str] = ()
) -> FromGGUF:
    """Plan a conversion from the file's header alone.

    Tensors get the types of the checkpoint that the file was made from, where it says; else they
    keep theirs, and quantized ones become BF16.

    Args:
        path: the GGUF file.
        exact: which tensors, by their names in the file, come in a type that loses nothing: as they
            are stored, quantized ones F32.
        packed: types of which the bytes of rows take the places of values, see `packed.py`.

    Raises:
        WorkError: a broken file, or an architecture or a setting that is not covered.
        ModelError: a config that is not supported.
    """
    file = open_gguf(path)
    where = str(path)
    record = read_record(file.metadata, where)
    dialect = model_dialect(file, record, where)
    config, sizes, passed = model_config(file, dialect, record, where)
    _require_experts(file, sizes, where)
    places = {name: names for stored, names in dialect.pairs(config) for name in stored}
    stored, types = dict[str, TensorEntry](), dict[str, str]()
    for name, info in file.tensors.items():
        names, lost = places.get(name, ()), REMAINDER + name
        for hf in names:
            types[hf] = (
                ROWS
                if info.dtype in packed
                else _type_of(record, info, _spelt(hf, dialect, record), exact(name))
            )
        if lost in places:
            stored[lost] = _remainder(record, info, lost)
        stored[name] = (
            _rows(file, info)
            if info.dtype in packed
            else _values(file, info, {types[hf] for hf in names}, keep=lost in places)
        )
    tensors = {}
    for name, tensor in join({path: stored}, dialect, config).items():
        dtype = types[name] or _narrowed(file, tensor.read)
        spelt = _spelt(name, dialect, record)
        tensors[spelt] = _in_type(tensor, spelt, dtype, file)
    _set_dtype(config, [tensor.dtype for tensor in tensors.values()])
    return FromGGUF(file, dialect, config, sizes, tensors, passed)


def _require_experts(file: GGUFFile, sizes: Any, where: str) -> None:
    """Before rules are written out: a config may ask for a million experts that are not there."""
    experts = getattr(sizes, "num_experts", 0)
    stacks = [info for name, info in file.tensors.items() if "_exps." in name]
    for info in stacks:
        if experts and info.shape[:1] != (experts,):
            raise WorkError(
                f"{info.name} holds {info.shape[:1]} experts, the config says {experts}",
                where=where,
            )
    if not stacks and experts > len(file.tensors):
        raise WorkError(
            f"the config says {experts} experts, the file has {len(file.tensors)} tensors",
            where=where,
        )


def _spelt(name: str, dialect: GGUFDialect, record: Record) -> str:
    """A name as in the checkpoint that the file was made from."""
    bare = record.bare and name != dialect.head
    return name.removeprefix(dialect.prefix) if bare else name


@dataclass(frozen=True)
class _Stored:
    """Reads a stored tensor, or one place of its first dimension, in a type.

    Args:
        file: that holds it.
        name: there.
        dtype: code of the type.
    """

    file: GGUFFile
    name: str
    dtype: str

    def __call__(self) -> Tensor:
        return self.file.dequantize(self.name, torch_dtype(self.dtype))

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """A part along a dimension; of a stack's experts the others are not dequantized."""
        if dim or length != 1:
            return self().narrow(dim, start, length)
        one = self.file.dequantize(self.name, torch_dtype(self.dtype), start)
        return one.unsqueeze(0)


def _values(file: GGUFFile, info: TensorInfo, types: set[str], *, keep: bool) -> TensorEntry:
    """A stored tensor in the type that the checkpoint has it in, or, to `keep` more, in its own."""
    plain = BY_NAME[info.dtype].plain
    dtype = info.dtype if plain else "F32"
    if len(types) == 1 and not keep:
        dtype = next(iter(types)) or dtype
    how = "" if plain else f"{info.dtype} dequantized"
    read = _Stored(file, info.name, dtype)
    return TensorEntry(info.name, dtype, info.shape, (info.name,), how, read)


def _rows(file: GGUFFile, info: TensorInfo) -> TensorEntry:
    """The bytes of a quantized tensor's rows."""
    read = file.tensor(info.name)
    shape = (*info.shape[:-1], BY_NAME[info.dtype].row_bytes(info.shape[-1]))
    return TensorEntry(info.name, ROWS, shape, (info.name,), "", read)


def _remainder(record: Record, info: TensorInfo, key: str) -> TensorEntry:
    """What rounding took from a tensor that is stored plus one; 0 where the file says nothing."""
    return TensorEntry(key, "F32", info.shape, (), "", partial(_numbers, record, info))


def _numbers(record: Record, info: TensorInfo) -> Tensor:
    import torch

    found = record.remainders.get(info.name)
    if found is None or len(found) != info.elements:
        return torch.zeros(info.shape)
    return torch.tensor(found, dtype=torch.float32).reshape(info.shape)


def _in_type(tensor: TensorEntry, name: str, dtype: str, file: GGUFFile) -> TensorEntry:
    held = file.info(tensor.sources[0]).dtype
    return replace(
        tensor,
        name=name,
        dtype=dtype,
        read=partial(_cast, tensor.read, dtype),
        stored="" if held == dtype else held,
    )


def _cast(read: Read, dtype: str) -> Tensor:
    return read().to(torch_dtype(dtype)).contiguous()


def _type_of(record: Record, info: TensorInfo, name: str, exact: bool) -> str:
    """The type of a checkpoint's tensor that is made of a stored one; empty: see `_narrowed`."""
    plain = BY_NAME[info.dtype].plain
    if exact:
        return info.dtype if plain else "F32"
    known = record.dtype_of(name)
    if known is not None:
        return known
    if not plain:
        return _FROM_QUANTIZED
    return "" if stays_single(info.name, len(info.shape)) else info.dtype


def _narrowed(file: GGUFFile, read: Read) -> str:
    """The type of most tensors, where a norm or bias loses nothing in it; else float32."""
    import torch

    plain = [i for i in file.tensors.values() if not stays_single(i.name, len(i.shape))]
    wanted = common_type(plain) if any(BY_NAME[i.dtype].plain for i in plain) else _FROM_QUANTIZED
    values = read().float()
    return wanted if torch.equal(values.to(torch_dtype(wanted)).float(), values) else "F32"


def _set_dtype(config: dict[str, Any], codes: list[str]) -> None:
    """config.json names the type of most tensors."""
    if not codes:
        return
    name = TORCH_NAMES[max(set(codes), key=codes.count)]
    for key in ("dtype", "torch_dtype"):
        if config.get(key, name) != name or key in config:
            config[key] = name
    if "dtype" not in config and "torch_dtype" not in config:
        config["dtype"] = config["torch_dtype"] = name
