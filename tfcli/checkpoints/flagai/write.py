"""FlagAI folders: FlagAI's config.json and pytorch_model.bin, or a file for each parallel rank.

Source: FlagAI's `flagai/model` and `flagai/mp_tools.py`; see `tfcli.checkpoints.flagai.rules`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.flagai.folders import Target
from tfcli.checkpoints.flagai.rules import dialect
from tfcli.checkpoints.flagai.tensors import flagai_files, with_both_biases
from tfcli.checkpoints.flagai.weights import rank_file
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.source import PICKLED
from tfcli.checkpoints.parameters import as_parameters
from tfcli.checkpoints.plan import Plan
from tfcli.checkpoints.torch.serialize import write_torch
from tfcli.files import write_json


def prepare(view: Checkpoint) -> Checkpoint:
    """A view by the names that `flagai.read` gives to what is written.

    Where FlagAI has one tensor for two of Hugging Face's, the view has both.

    Raises:
        WorkError: a family, head or setting that FlagAI has no class for; names it.
        ModelError: a config that is not built.
    """
    view = as_parameters(view)
    target = Target.of(view.config, view.tensors)
    tensors = dialect(target.kind, target.task).with_prefix(view.tensors, view.config)
    return dataclasses.replace(view, tensors=with_both_biases(tensors))


def write(plan: Plan, folder: Path, options: WriteOptions) -> list[Path]:
    """Write a folder that FlagAI and `flagai.read` read, with FlagAI's config.json.

    Memory is that of one stored tensor and, for joined queries, keys and values, its parts.

    Args:
        plan: of a view that went through `prepare`.
        folder: where the files go.
        options: `parts` is the number of model-parallel ranks.

    Returns:
        The weight files, in order.

    Raises:
        UsageError: parts for a kind that FlagAI cannot load in parts, or that do not divide a
            size. Nothing is written then.
        WorkError: two tensors that FlagAI has one for and that differ; as `write_torch`.
    """
    target, files = _files(plan, options.parts)
    several = len(files) > 1
    paths = [folder / (rank_file(rank) if several else PICKLED) for rank in range(len(files))]
    for path, pending in zip(paths, files, strict=True):
        write_torch(path, pending, _in_module if several else dict)
    write_json(folder / CONFIG, target.config)
    return paths


def check(plan: Plan, options: WriteOptions) -> None:
    """Refuse what `write` would refuse, from headers alone."""
    _files(plan, options.parts)


def _files(plan: Plan, parts: int) -> tuple[Target, list[list[PendingTensor]]]:
    target = Target.of(plan.config, [item.tensor.name for item in plan.items])
    kind, task, nested = target.kind, target.task, target.nested
    return target, flagai_files(plan.tensors, kind, task, plan.config, nested=nested, ranks=parts)


def _in_module(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {"module": dict(tensors)}


WRITER = Writer(write, prepare, check, own_config=True)  # FlagAI's keys, and no model_type
