"""Megatron-LM folders of GPT-2 and Llama: release/mp_rank_XX/model_optim_rng.pt, a file a part.

What is written is Megatron's `--ckpt-format torch` as today's Megatron Core loads it: names as with
Transformer Engine, queries, keys and values group by group (checkpoint_version 3.0), and `args`
with the model's shape. It is a `release`: weights without a training's state, which Megatron loads
as iteration 0. The models before Megatron Core, which had other names, are gone from Megatron.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.dialect.ranks import divide, require_whole_heads
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.disk import require_space
from tfcli.checkpoints.io.dtypes import FLOATS, torch_dtype
from tfcli.checkpoints.megatron.args import file_arguments, model_arguments, text_config
from tfcli.checkpoints.megatron.read import LATEST, NAME
from tfcli.checkpoints.megatron.rules import OUTPUT, dialect
from tfcli.checkpoints.parameters import as_parameters
from tfcli.checkpoints.plan import Plan, Planned
from tfcli.checkpoints.torch.serialize import write_torch
from tfcli.files import write_text

VERSION = 3.0
TAG = "release"


def prepare(view: Checkpoint) -> Checkpoint:
    """A view by the names that Megatron's rules know.

    Raises:
        UsageError: another family or a setting that Megatron has no argument for; names it.
        WorkError: two tensors of one name.
    """
    config = text_config(view.config)
    model_arguments(config)
    view = as_parameters(view)
    tensors = dialect(config.model_type, VERSION, 1).with_prefix(view.tensors, view.config)
    return dataclasses.replace(view, tensors=tensors)


def write(plan: Plan, folder: Path, options: WriteOptions) -> list[Path]:
    """Write a folder that Megatron-LM and `megatron.read` read.

    Memory is that of one stored tensor's part and of what is copied into it; each tensor is made
    once for every part.

    Args:
        plan: of a view that went through `prepare`.
        folder: where the files go.
        options: `parts` is for how many ranks of tensor parallelism.

    Returns:
        The weight files, in order.

    Raises:
        UsageError: parts that do not divide the heads or sizes. Nothing is written then.
        WorkError: tensors that Megatron has no place for, that are missing, or that do not lie in
            one matrix because of their types or sizes; as `write_torch`.
    """
    config, parts = text_config(plan.view.config), options.parts
    ranks = _ranks(plan, parts)
    require_space(folder, sum(item.nbytes for pending in ranks for item in pending))
    tied = all(item.name != OUTPUT for item in ranks[0])
    arguments = file_arguments(config, parts, torch_dtype(_main_type(plan.written)), tied)
    paths = []
    for rank, pending in enumerate(ranks):
        path = folder / TAG / f"mp_rank_{rank:02d}" / NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        write_torch(path, pending, partial(_content, arguments))
        paths.append(path)
    write_text(folder / LATEST, TAG)
    return paths


def check(plan: Plan, options: WriteOptions) -> None:
    """Refuse what `write` would refuse, from headers alone."""
    _ranks(plan, options.parts)


def _ranks(plan: Plan, parts: int) -> list[list[PendingTensor]]:
    config = text_config(plan.view.config)
    heads = config.num_attention_heads
    require_whole_heads(parts, heads, config.num_key_value_heads or heads)
    names = dialect(config.model_type, VERSION, parts)
    return divide(plan.tensors, names, plan.config, parts)


def _main_type(items: list[Planned]) -> str:
    """The type that most of the values have."""
    counts: Counter[str] = Counter()
    for item in items:
        counts[item.dtype] += item.nbytes if item.dtype in FLOATS else 0
    return counts.most_common(1)[0][0]


def _content(arguments: Namespace, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "args": arguments,
        "checkpoint_version": VERSION,
        "iteration": 0,
        "model": dict(tensors),
    }


WRITER = Writer(write, prepare, check)
