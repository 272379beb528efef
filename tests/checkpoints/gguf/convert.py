"""Checkpoint folders and GGUF files, there and back, without the command around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.gguf.from_gguf import FromGGUF, plan_from_gguf
from tfcli.checkpoints.gguf.plan import ToGGUF
from tfcli.checkpoints.gguf.to_gguf import plan_to_gguf
from tfcli.checkpoints.gguf.vocabulary_read import write_tokenizer
from tfcli.checkpoints.gguf.write import verify, write
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.shards import DEFAULT_SHARD_BYTES, write_shards
from tfcli.files import write_json


@dataclass(frozen=True)
class Done:
    """What was planned, and the largest relative difference of each tensor that has any."""

    planned: ToGGUF
    worst: dict[str, float]

    @property
    def types(self) -> dict[str, int]:
        return dict(Counter(target.dtype for target in self.planned.targets))


def plan(
    folder: Path, kind: str | None = None, types: Sequence[tuple[str, str]] = (), **options: object
) -> ToGGUF:
    return plan_to_gguf(open_checkpoint(folder), kind, types, **options)  # type: ignore[arg-type]


def run(planned: ToGGUF, file: Path) -> Done:
    write(planned, file)
    return Done(planned, verify(planned, file))


def to_gguf(
    folder: Path,
    file: Path,
    kind: str | None = None,
    types: Sequence[tuple[str, str]] = (),
    name: str | None = None,
) -> Done:
    return run(plan(folder, kind, types, name=name), file)


def from_gguf(file: Path, folder: Path) -> FromGGUF:
    planned = plan_from_gguf(file)
    folder.mkdir()
    pending = [PendingTensor(t.name, t.dtype, t.shape, t.read) for t in planned.tensors.values()]
    write_shards(folder, pending, DEFAULT_SHARD_BYTES)
    if planned.vocabulary is not None:
        write_tokenizer(planned.vocabulary, folder)
    write_json(folder / CONFIG, planned.config)
    return planned
