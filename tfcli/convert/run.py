"""`tfcli convert`: stream a Hugging Face checkpoint into another dtype or shard size.

The model is never built: tensors go from the mapped source to the new file one at a time. Then
what was written is opened again and compared with the source, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tfcli.checkpoints.dtypes import TORCH_NAMES, USER_NAMES
from tfcli.checkpoints.folder import CONFIG, copy_companions, read_object
from tfcli.checkpoints.safetensors import PendingTensor, raw_bytes
from tfcli.checkpoints.shards import write_shards
from tfcli.checkpoints.source import INDEX, TensorSource, open_checkpoint
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.ties import config_ties
from tfcli.console import Bar
from tfcli.convert.casting import cast, same_after_cast, target_dtypes
from tfcli.convert.spec import ConvertResult, ConvertSpec, TensorAccount
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.hub import resolve
from tfcli.recipe.job import Job
from tfcli.recipe.record import RECORD


def run(spec: ConvertSpec, job: Job) -> ConvertResult:
    """Convert `spec.source` into the job's folder.

    Raises:
        UsageError: the source is not a folder.
        WorkError: broken files, a value that the new type cannot hold, a full disk, or written
            tensors that differ from the source's.
    """
    folder = resolve(spec.source)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is a file", where="source", fix="name the folder with its config.json"
        )
    config = read_object(folder, CONFIG)
    source = open_checkpoint(folder)
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    targets = target_dtypes(source, wanted, config.get("quantization_config"))
    ties = {name: o for name, o in config_ties(config).items() if name in source and o in source}
    tied = {name: origin for name, origin in ties.items() if _equal(source, name, origin)}
    if len(tied) < len(ties):
        apart = ", ".join(name for name in ties if name not in tied)
        job.console.warn(f"{apart} differs from what the config ties it to: written untied")
        config = {**config, "tie_word_embeddings": False}

    kept = [name for name in source if name not in tied]
    with job.console.progress("writing", len(kept), "tensors") as bar:
        pending = list(_pending(source, kept, targets, bar))
        files = write_shards(job.output, pending, spec.max_shard_bytes)
    companions = copy_companions(folder, job.output)
    write_json(job.output / CONFIG, with_dtype(config, wanted))
    with job.console.progress("verifying", len(kept), "tensors") as bar:
        verify(source, open_checkpoint(job.output), targets, kept, bar)

    accounts = [_account(source, name, targets, tied) for name in source]
    actions = [account.action for account in accounts]
    carried = {CONFIG, INDEX, RECORD, *companions, *(file.path.name for file in source.files)}
    others = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - carried
    return ConvertResult(
        files=[path.name for path in files],
        source_bytes=source.nbytes,
        bytes=sum(item.nbytes for item in pending),
        converted=actions.count("converted"),
        copied=actions.count("copied"),
        tied=actions.count("tied"),
        verified=len(kept),
        companions=companions,
        left_out=sorted(others),
        tensors=accounts,
    )


def verify(
    source: TensorSource,
    written: TensorSource,
    targets: dict[str, str],
    names: list[str],
    bar: Bar,
) -> None:
    """Compare what was written with the source.

    Raises:
        WorkError: a tensor is missing, was not asked for, or differs in type, shape or any bit.
    """
    if set(written) != set(names):
        odd = sorted(set(written) ^ set(names))
        raise WorkError(f"verification: {short(odd[0])} is missing or was not to be written")
    for name in names:
        stored = written.info(name).dtype
        if stored != targets[name] or not same_after_cast(source[name], written[name]):
            raise WorkError(
                f"verification: {short(name)} differs from the source",
                where=str(written.info(name).file),
                fix="run it again; if it happens again, check the disk and the memory",
            )
        bar.advance()


def with_dtype(config: dict[str, Any], code: str | None) -> dict[str, Any]:
    """A config.json with its dtype keys, old and new spelling, nested ones too, set to `code`.

    The new spelling is added at the top when there is neither.
    """
    if code is None:
        return config
    name = TORCH_NAMES[code]

    def update(part: dict[str, Any]) -> dict[str, Any]:
        out = {}
        for key, value in part.items():
            if key in ("dtype", "torch_dtype"):
                value = name
            elif key.endswith("_config") and key != "quantization_config":
                value = update(value) if isinstance(value, dict) else value
            out[key] = value
        return out

    out = update(config)
    return out if out.keys() & {"dtype", "torch_dtype"} else {**out, "dtype": name}


def _equal(source: TensorSource, name: str, origin: str) -> bool:
    one, other = source.info(name), source.info(origin)
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(raw_bytes(source[name]), raw_bytes(source[origin]))


def _pending(
    source: TensorSource, names: list[str], targets: dict[str, str], bar: Bar
) -> Iterator[PendingTensor]:
    def read(name: str) -> Tensor:
        bar.advance()
        return cast(source[name], targets[name], name)

    for name in names:
        yield PendingTensor(name, targets[name], source.info(name).shape, partial(read, name))


def _account(
    source: TensorSource, name: str, targets: dict[str, str], tied: dict[str, str]
) -> TensorAccount:
    before = source.info(name).dtype
    if name in tied:
        after = targets[tied[name]]
        return TensorAccount(name=name, action="tied", source_dtype=before, dtype=after)
    after = targets[name]
    action = "copied" if before == after else "converted"
    return TensorAccount(name=name, action=action, source_dtype=before, dtype=after)
