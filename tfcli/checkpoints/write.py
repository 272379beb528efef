"""Writing a Hugging Face folder from what a verb makes: streamed, read again, compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import CONFIG, warn_of_lost_modules
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.fit import require_fit
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.shards import DEFAULT_SHARD_BYTES, write_shards
from tfcli.checkpoints.hf.source import TensorSource, open_tensors
from tfcli.checkpoints.io.file_tensor import values_from, watched
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.checkpoints.io.tensor_hashes import TensorHashes
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.checkpoints.strict_json import short
from tfcli.console import Bar, Console
from tfcli.errors import WorkError
from tfcli.files import write_json

WriteFiles = Callable[[Path, Sequence[PendingTensor], int], list[Path]]


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
    companions: Checkpoint,
    console: Console,
    *,
    repeatable: bool = True,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    write: WriteFiles = write_shards,
) -> Written:
    """Write a Hugging Face folder tensor by tensor, open it again and check every tensor.

    Freed tensors go back to the system at once.

    Args:
        output: the folder.
        tensors: what to write.
        config: the content of config.json.
        companions: the checkpoint whose tokenizer and other files go along.
        console: for the progress.
        repeatable: whether each tensor is made twice, the second time to compare; of what can be
            made only once, a hash is compared.
        max_shard_bytes: the largest weight file.
        write: writes the weight files.

    Raises:
        WorkError: tensors that the config does not build, a full disk, or a tensor in the file
            that differs in type, shape or any bit.
    """
    require_fit(config, {item.name: item.shape for item in tensors}, companions.path)
    hashes = None if repeatable else TensorHashes()
    with freed_at_once():
        with console.progress("writing", len(tensors), "tensors") as bar:
            watched = [
                _watched(item if hashes is None else hashes.noting(item), bar) for item in tensors
            ]
            written = write(output, watched, max_shard_bytes)
        copied = companions.carry_along(output)
        if companions.companions is not None:
            warn_of_lost_modules(companions.companions, copied, console)
        write_json(output / CONFIG, dict(config))
        with console.progress("verifying", len(tensors), "tensors") as bar:
            verify_written(
                open_tensors(output),
                [_watched(item, bar) for item in tensors],
                hashes,
            )
    names = [path.name for path in written]
    return Written(names, copied, sum(item.nbytes for item in tensors), len(tensors))


def _watched(item: PendingTensor, bar: Bar) -> PendingTensor:
    """The same tensor, which moves the bar when it is read."""
    return replace(item, read=watched(item.read, bar.advance))


def verify_written(
    written: TensorSource, expected: Sequence[PendingTensor], hashes: TensorHashes | None = None
) -> None:
    """Compare what was written with what it is made of.

    Args:
        written: the opened files.
        expected: what they are to hold; every tensor is made again, but for those with a hash in
        hashes: of what can be made only once.

    Raises:
        WorkError: a tensor is missing, was not asked for, or differs in type, shape or any bit.
    """
    items = {item.name: item for item in expected}
    if set(written) != items.keys():
        odd = sorted(set(written) ^ items.keys())
        raise WorkError(f"verification: {short(odd[0])} is missing or was not to be written")
    for name, item in items.items():
        if hashes is None or name not in hashes:
            same = same_bits(item.values, values_from(written.tensor(name)))
        else:
            same = hashes.matches(name, written[name])
        if not same:
            raise WorkError(
                f"verification: {short(name)} differs from what it is made of",
                where=str(written.info(name).file),
                fix="run it again; if it happens again, check the disk and the memory",
            )
