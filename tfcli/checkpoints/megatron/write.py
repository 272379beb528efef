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
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.casting import cast
from tfcli.checkpoints.io.disk import require_space
from tfcli.checkpoints.io.dtypes import FLOATS, torch_dtype
from tfcli.checkpoints.megatron.args import file_arguments, model_arguments, padded_rows
from tfcli.checkpoints.megatron.layout import Heads, Layout, split
from tfcli.checkpoints.megatron.read import LATEST, NAME
from tfcli.checkpoints.megatron.rules import OUTPUT, VOCABULARY, stored_names
from tfcli.checkpoints.parameters import as_parameters
from tfcli.checkpoints.plan import Plan, Planned
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.serialize import write_torch
from tfcli.errors import UsageError
from tfcli.files import write_text

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.models.config import ModelConfig

VERSION = 3.0
TAG = "release"
_PREFIXES = {"gpt2": "transformer.", "llama": "model."}  # what checkpoints of bodies leave out


def prepare(view: Checkpoint) -> Checkpoint:
    """A view by the names that Megatron's rules know.

    Raises:
        UsageError: another family, a setting that Megatron has no argument for, tensors that it
            has no place for, or that are missing; names it.
        WorkError: two tensors of one name.
    """
    config = _config(view)
    model_arguments(config)
    view = as_parameters(view)
    known = {
        name: stored
        for stored, _, names in stored_names(config.model_type, config.num_hidden_layers)
        for name in names
    }
    tensors = {}
    for name, tensor in view.tensors.items():
        whole = next((n for n in (name, _PREFIXES[config.model_type] + name) if n in known), None)
        if whole is None:
            raise UsageError(f"Megatron's {config.model_type} has no place for {short(name)}")
        tensors[whole] = dataclasses.replace(tensor, name=whole)
    for name, stored in known.items():
        optional = stored == OUTPUT and config.tie_word_embeddings
        if name not in tensors and not optional:
            raise UsageError(f"the model has no {name}, which Megatron's format needs")
    return dataclasses.replace(view, tensors=tensors)


def write(plan: Plan, folder: Path, options: WriteOptions) -> list[Path]:
    """Write a folder that Megatron-LM and `readers.megatron` read.

    Memory is that of one stored tensor's part and of what is copied into it; each tensor is made
    once for every part.

    Args:
        plan: of a view that went through `prepare`.
        folder: where the files go.
        options: `parts` is for how many ranks of tensor parallelism.

    Returns:
        The weight files, in order.

    Raises:
        UsageError: parts that do not divide the heads or sizes, or tensors of one matrix in
            different types. Nothing is written then.
        WorkError: as `write_torch`.
    """
    config, parts = _config(plan.view), options.parts
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
    config = _config(plan.view)
    heads = _heads(config, parts)
    written = {item.tensor.name: item for item in plan.written}
    return [_part(written, config, heads, rank, parts) for rank in range(parts)]


def _config(view: Checkpoint) -> ModelConfig:
    from tfcli.models.registry import read_config

    return read_config(view.config)


def _heads(config: ModelConfig, parts: int) -> Heads:
    groups = config.num_key_value_heads or config.num_attention_heads
    if groups % parts or config.num_attention_heads % parts:
        raise UsageError(
            f"{parts} parts do not divide {config.num_attention_heads} and {groups} heads",
            where="parts",
        )
    return Heads(config.num_attention_heads, groups, config.head_dim, VERSION)


def _part(
    written: Mapping[str, Planned], config: ModelConfig, heads: Heads, rank: int, parts: int
) -> list[PendingTensor]:
    pending = []
    for stored, rule, names in stored_names(config.model_type, config.num_hidden_layers):
        if stored == OUTPUT and names[0] not in written:
            continue  # tied to the embedding
        items = [written[name] for name in names]
        if len({item.dtype for item in items}) > 1:
            raise UsageError(
                f"{', '.join(names)} have different types, and Megatron has one matrix of them",
                fix="name one with dtype",
            )
        layout = Layout(rule, heads, parts)
        rows = padded_rows(config.vocab_size, parts) if stored in VOCABULARY else None
        shapes = [item.tensor.shape for item in items]
        if rows is not None and shapes[0][0] != config.vocab_size:
            raise UsageError(f"{names[0]} has {shapes[0][0]} rows, not {config.vocab_size}")
        try:
            shape = layout.part_shape(shapes, rows)
        except ValueError as problem:
            where = f"parts, {short(names[0])}"
            raise UsageError(str(problem), where=where) from None
        read = partial(split, layout, rank, partial(_whole, items), shape)
        pending.append(PendingTensor(stored, items[0].dtype, shape, read))
    return pending


def _whole(items: list[Planned], which: int) -> Tensor:
    item = items[which]
    return cast(item.tensor.read(), torch_dtype(item.dtype), item.tensor.name)


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
