"""Writing weights under FlagAI's names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from tfcli.errors import WorkError
from tfcli.files import sync_entry
from tfcli.flagai.dialects import DIALECTS, Rows
from tfcli.models.model import Model
from tfcli.models.saving import stored_place


def flagai_tensors(core: Model, kind: str, task: str, nested: bool) -> dict[str, torch.Tensor]:
    """A model's tensors as FlagAI's class of the task stores them.

    Args:
        core: the model.
        kind: of the model.
        task: whose head it has.
        nested: FlagAI's class holds the body under a name of its own.
    """
    tensors = {}
    for name, tensor in core.state_dict().items():
        place = stored_place(core, name)
        tensors[place.name] = place.write(tensor)
    return as_flagai(tensors, kind, task, nested)


def as_flagai(
    tensors: Mapping[str, torch.Tensor], kind: str, task: str, nested: bool
) -> dict[str, torch.Tensor]:
    """Tensors by Hugging Face's names -> the same by FlagAI's.

    Raises:
        WorkError: parts that are missing, or two tensors for one place that differ.
    """
    dialect = DIALECTS[kind]
    parts: dict[str, dict[int, torch.Tensor]] = {}
    counts: dict[str, int] = {}
    tensors = dict(tensors)
    if kind in ("glm", "gpt2"):  # FlagAI's classes take the token table for the head
        _drop_tied(tensors)
    for tied, origin in dialect.ties.items():
        wanted = not tied.startswith("cls.") or task == "masked-lm"
        if wanted and origin in tensors:
            tensors.setdefault(tied, tensors[origin])
    for name, tensor in tensors.items():
        rows: Rows = dialect.flagai_place(name, task, nested)
        held = parts.setdefault(rows.name, {})
        if rows.part in held and not torch.equal(held[rows.part], tensor):
            raise WorkError(f"{name} and another tensor differ, and FlagAI has one for both")
        held[rows.part] = tensor
        counts[rows.name] = rows.of
    out = {}
    for name, held in parts.items():
        if len(held) != counts[name]:
            raise WorkError(f"{name} lacks a part", fix="check that the checkpoint is whole")
        out[name] = held[0] if len(held) == 1 else torch.cat([held[i] for i in sorted(held)])
    return out


def _drop_tied(tensors: dict[str, torch.Tensor]) -> None:
    head = tensors.pop("lm_head.weight", None)
    table = next(
        (
            t
            for name, t in tensors.items()
            if name.endswith(("word_embeddings.weight", "wte.weight"))
        ),
        None,
    )
    if head is not None and (table is None or not torch.equal(head, table)):
        raise WorkError(
            "lm_head.weight differs from the token table, which FlagAI takes in its place",
            fix="keep this checkpoint in the Hugging Face layout",
        )


def write_pickle(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors with torch.save: whole, or not at all.

    Raises:
        WorkError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # A view is saved with all of the storage behind it, so views are copied.
        whole = {name: _alone(tensor.detach().cpu()) for name, tensor in tensors.items()}
        torch.save(whole, temporary)
        sync_entry(temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise WorkError(
            f"cannot be written: {str(error).splitlines()[0]}", where=str(path)
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    fits = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if fits else tensor.clone(memory_format=torch.contiguous_format)
