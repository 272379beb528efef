"""FlagAI folders: FlagAI's config.json and pytorch_model.bin, or a file for each parallel rank.

Source: FlagAI's `flagai/model` and `flagai/mp_tools.py`; see `tfcli.checkpoints.flagai.rules`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.flagai.folders import Target
from tfcli.checkpoints.flagai.tensors import as_flagai, rank_files, write_flagai
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.parameters import as_parameters
from tfcli.checkpoints.plan import Plan
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
    tensors: dict[str, TensorEntry] = {}
    for name, tensor in view.tensors.items():
        known = target.hf_names(name)
        name = name if name in known else known[0]
        tensors[name] = dataclasses.replace(tensor, name=name)
    for name, tensor in list(tensors.items()):
        for other in target.hf_names(name):
            if other not in tensors:
                how = f"a copy of {name}"
                tensors[other] = dataclasses.replace(tensor, name=other, how=how)
    return dataclasses.replace(view, tensors=tensors)


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
    target, tensors = _stage(plan)
    files = write_flagai(folder, tensors, target.kind, target.heads, options.parts)
    write_json(folder / CONFIG, target.config)
    return files


def check(plan: Plan, options: WriteOptions) -> None:
    """Refuse what `write` would refuse, from headers alone."""
    target, tensors = _stage(plan)
    rank_files(tensors, target.kind, target.heads, options.parts)


def _stage(plan: Plan) -> tuple[Target, list[PendingTensor]]:
    target = Target.of(plan.config, [item.tensor.name for item in plan.items])
    return target, as_flagai(plan.pending(), target.kind, target.task, target.nested)


WRITER = Writer(write, prepare, check, own_config=True)  # FlagAI's keys, and no model_type
