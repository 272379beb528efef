"""A checkpoint folder as the verbs that compute with weights take it: each tensor once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tfcli.checkpoints.folder import CONFIG, copy_companions, read_object, warn_of_lost_modules
from tfcli.checkpoints.memory import freed_at_once
from tfcli.checkpoints.pieces import same_bits
from tfcli.checkpoints.safetensors import PendingTensor
from tfcli.checkpoints.shards import DEFAULT_SHARD_BYTES, write_shards
from tfcli.checkpoints.snapshot import Snapshot
from tfcli.checkpoints.source import TensorSource, open_checkpoint
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.ties import config_ties
from tfcli.console import Bar, Console
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.hub import resolve

Writer = Callable[[Path, Sequence[PendingTensor], int], list[Path]]

# What may differ between finetunes of one model: names, types, special tokens and switches that
# change nothing in what the weights mean.
FREE = {
    "_name_or_path",
    "architectures",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "pad_token_id",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


@dataclass(frozen=True)
class Checkpoint:
    """An opened folder.

    Args:
        folder: where it lies.
        config: the content of config.json.
        source: its tensors.
        ties: name -> the name that the config ties it to, whether or not it is stored.
        tied: those of `ties` that are stored although they equal their partner.
    """

    folder: Path
    config: dict[str, Any]
    source: TensorSource
    ties: dict[str, str]
    tied: dict[str, str]

    @property
    def names(self) -> list[str]:
        """The stored names, each tied pair once."""
        return [name for name in self.source if name not in self.tied]

    @property
    def is_quantized(self) -> bool:
        """Whether the config declares packed weights."""
        return self.config.get("quantization_config") is not None


def open_folder(ref: str, *, where: str) -> Checkpoint:
    """Open a folder or a hub id.

    Args:
        ref: as `tfcli.hub.resolve` takes it.
        where: the key that it was given as, for errors.

    Raises:
        UsageError: no such folder or hub model, or a file.
        WorkError: broken files, or two tensors that differ although the config ties them.
    """
    folder = resolve(ref)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is a file", where=where, fix="name the folder with its config.json"
        )
    config, source = read_object(folder, CONFIG), open_checkpoint(folder, writable=False)
    ties = config_ties(config)
    tied = {name: origin for name, origin in ties.items() if name in source and origin in source}
    for name, origin in tied.items():
        if not same_bits(source[name], source[origin]):
            raise WorkError(
                f"{short(name)} and {short(origin)} differ, but the config ties them",
                where=str(folder),
                fix="write them apart first: tfcli convert does",
            )
    return Checkpoint(folder, config, source, ties, tied)


def require_same_config(
    first: Checkpoint, other: Checkpoint, *, free: frozenset[str] = frozenset()
) -> None:
    """Refuse checkpoints whose configs differ in more than FREE and `free`.

    Raises:
        WorkError: names the key and both values.
    """
    for key in sorted({*first.config, *other.config} - FREE - free):
        ours, theirs = first.config.get(key), other.config.get(key)
        if ours != theirs:
            raise WorkError(
                f"{key} is {_shown(theirs)} here and {_shown(ours)} in {first.folder}",
                where=str(other.folder / CONFIG),
                fix="take checkpoints of one architecture and one set of settings",
            )


def _shown(value: Any) -> str:
    return "absent" if value is None else repr(value)


@dataclass(frozen=True)
class Written:
    """What `write_verified` wrote.

    Args:
        files: names of the weight files, in order.
        companions: names of the other files that were copied.
        nbytes: of all tensors.
        verified: how many tensors were made again and found equal to the file, bit for bit.
    """

    files: list[str]
    companions: list[str]
    nbytes: int
    verified: int


def write_verified(
    output: Path,
    tensors: Sequence[PendingTensor],
    config: Mapping[str, Any],
    companions: Path,
    console: Console,
    *,
    sources: Iterable[TensorSource],
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    write: Writer = write_shards,
) -> Written:
    """Write a Hugging Face folder tensor by tensor, open it again and check every tensor.

    Freed tensors go back to the system at once, and the sources must stay as they are.

    Args:
        output: the folder.
        tensors: what to write; each is read twice, the second time to compare.
        config: the content of config.json.
        companions: a folder whose tokenizer and other files go along.
        console: for the progress.
        sources: whose files the tensors are made of.
        max_shard_bytes: the largest weight file.
        write: writes the weight files.

    Raises:
        WorkError: a full disk, a source that changed meanwhile, or a tensor in the file that
            differs in type, shape or any bit.
    """
    before = Snapshot.of(file.path for source in sources for file in source.files)

    def counted(item: PendingTensor, bar: Bar) -> PendingTensor:
        def read() -> Tensor:
            bar.advance()
            return item.read()

        return replace(item, read=read)

    with freed_at_once(), before.kept():
        with console.progress("writing", len(tensors), "tensors") as bar:
            files = write(output, [counted(item, bar) for item in tensors], max_shard_bytes)
        copied = copy_companions(companions, output)
        warn_of_lost_modules(companions, copied, console)
        write_json(output / CONFIG, dict(config))
        with console.progress("verifying", len(tensors), "tensors") as bar:
            verify_written(
                open_checkpoint(output, writable=False), [counted(item, bar) for item in tensors]
            )
    names = [path.name for path in files]
    return Written(names, copied, sum(item.nbytes for item in tensors), len(tensors))


def verify_written(written: TensorSource, expected: Sequence[PendingTensor]) -> None:
    """Compare what was written with what it is made of: every tensor is made again.

    Raises:
        WorkError: a tensor is missing, was not asked for, or differs in type, shape or any bit.
    """
    items = {item.name: item for item in expected}
    if set(written) != items.keys():
        odd = sorted(set(written) ^ items.keys())
        raise WorkError(f"verification: {short(odd[0])} is missing or was not to be written")
    for name, item in items.items():
        if not same_bits(item.read().detach().cpu(), written[name]):
            raise WorkError(
                f"verification: {short(name)} differs from what it is made of",
                where=str(written.info(name).file),
                fix="run it again; if it happens again, check the disk and the memory",
            )
