"""A GGUF file into a Hugging Face folder, tensor by tensor, checked afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.dtypes import TORCH_NAMES, torch_dtype
from tfcli.checkpoints.folder import CONFIG
from tfcli.checkpoints.safetensors import PendingTensor
from tfcli.checkpoints.shards import DEFAULT_SHARD_BYTES, write_shards
from tfcli.checkpoints.source import open_checkpoint
from tfcli.errors import WorkError
from tfcli.files import write_json
from tfcli.gguf.config_of import model_config, model_dialect
from tfcli.gguf.file import GGUFFile
from tfcli.gguf.names import stays_single
from tfcli.gguf.plan import Origin, common_type, plan_origins
from tfcli.gguf.record import Record, read_record
from tfcli.gguf.rules import AddOne, Dialect
from tfcli.gguf.split import open_gguf
from tfcli.gguf.types import BY_NAME
from tfcli.gguf.vocabulary_read import Vocabulary, read_vocabulary, write_tokenizer

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

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors in the checkpoint."""
        return sum(self.pending(origin).nbytes for origin in self.origins)

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


@dataclass(frozen=True)
class FolderResult:
    """What a conversion did.

    Args:
        folder: what was written. files: its weight files.
        types: safetensors type -> how many tensors have it.
        dequantized: tensors whose values were computed from quantized ones.
        tokenizer: whether the file had one.
        compared: tensors that were read back and compared.
    """

    folder: Path
    files: list[Path]
    types: dict[str, int]
    dequantized: int
    tokenizer: bool
    compared: int = 0
    notes: list[str] = field(default_factory=list)


def plan_from_gguf(path: Path, dtype: str | None = None) -> FromGGUF:
    """Plan a conversion from the file's header alone.

    Args:
        path: the GGUF file.
        dtype: safetensors' name of the type of all tensors; None: those of the checkpoint that
            the file was made from, where it says; else as stored, quantized ones F16.

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
    dtypes = {origin.name: dtype or _dtype_of(file, record, origin) for origin in origins}
    _set_dtype(config, dtypes)
    vocabulary = read_vocabulary(file.metadata, where)
    return FromGGUF(file, dialect, config, sizes, origins, dtypes, record, vocabulary)


def from_gguf(
    path: Path,
    out_folder: Path,
    dtype: str | None = None,
    *,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    verify: bool = True,
) -> FolderResult:
    """Write a GGUF file as a Hugging Face folder. See `plan_from_gguf` for the arguments.

    Args:
        out_folder: made when it is not there.
        max_shard_bytes: the largest weight file.
        verify: read the folder back and compare every tensor.

    Raises:
        WorkError, ModelError: as `plan_from_gguf`; no room; a folder that does not hold what was
            written.
    """
    return run_from_gguf(
        plan_from_gguf(path, dtype), out_folder, max_shard_bytes=max_shard_bytes, verify=verify
    )


def run_from_gguf(
    planned: FromGGUF,
    out_folder: Path,
    *,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    verify: bool = True,
) -> FolderResult:
    """Do what was planned. See `from_gguf`."""
    out_folder.mkdir(parents=True, exist_ok=True)
    pending = [planned.pending(origin) for origin in planned.origins]
    files = write_shards(out_folder, pending, max_shard_bytes)
    if planned.vocabulary is not None:
        write_tokenizer(planned.vocabulary, out_folder)
    write_json(out_folder / CONFIG, planned.config)
    types: dict[str, int] = {}
    for item in pending:
        types[item.dtype] = types.get(item.dtype, 0) + 1
    quantized = sum(not BY_NAME[planned.file.info(o.stored).dtype].plain for o in planned.origins)
    return FolderResult(
        out_folder,
        files,
        types,
        quantized,
        planned.vocabulary is not None,
        _verify(planned, out_folder) if verify else 0,
    )


def _verify(planned: FromGGUF, folder: Path) -> int:
    """Read the folder back: every tensor is what the rules make of the file's, bit for bit."""
    import torch

    from tfcli.tokenizers.load import load_tokenizer

    if planned.vocabulary is not None:
        load_tokenizer(folder)
    written = open_checkpoint(folder)
    names = {origin.name for origin in planned.origins}
    if set(written.names) != names:
        raise WorkError("the folder holds other tensors than were written", where=str(folder))
    for origin in planned.origins:
        expected, found = planned.read(origin), written[origin.name]
        same = expected.dtype == found.dtype and expected.shape == found.shape
        flat = (expected.contiguous().reshape(-1), found.reshape(-1))
        if not same or not torch.equal(*(tensor.view(torch.uint8) for tensor in flat)):
            raise WorkError(f"{origin.name} is not what {origin.stored} holds", where=str(folder))
    return len(names)


def _require_stacks(file: GGUFFile, sizes: Any, where: str) -> None:
    for name, info in file.tensors.items():
        if "_exps." in name and info.shape[:1] != (sizes.num_experts,):
            raise WorkError(
                f"{name} holds {info.shape[:1]} experts, the config says {sizes.num_experts}",
                where=where,
            )


def _dtype_of(file: GGUFFile, record: Record, origin: Origin) -> str:
    info = file.info(origin.stored)
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
