"""Meta's original folders: params.json and consolidated.NN.pth, cut into any number of parts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.dialect.ranks import divide, require_whole_heads
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.meta.params import PARAMS, params_of
from tfcli.checkpoints.meta.rules import dialect
from tfcli.checkpoints.plan import Plan
from tfcli.checkpoints.torch.serialize import write_torch
from tfcli.errors import UsageError
from tfcli.files import write_json

if TYPE_CHECKING:
    from tfcli.models.configs.rotary import RotaryConfig


def prepare(view: Checkpoint) -> Checkpoint:
    """A view as Meta's format can hold it: with an output layer of its own.

    Raises:
        UsageError: a model that is no plain Llama or Mistral; names the key of its config.
        ModelError: a config that cannot be read.
    """
    params_of(_config(view))
    head, embedding = "lm_head.weight", view.tensors.get("model.embed_tokens.weight")
    if head in view.tensors or embedding is None:
        return view
    copy = dataclasses.replace(embedding, name=head, how="a copy of the tied embedding")
    config = {**view.config, "tie_word_embeddings": False}
    return dataclasses.replace(view, config=config, tensors={**view.tensors, head: copy})


def write(plan: Plan, folder: Path, options: WriteOptions) -> list[Path]:
    """Write a folder that Meta's code and `meta.read` read.

    Memory is that of one whole tensor; each is made once for every part.

    Args:
        plan: of a view that went through `prepare`.
        folder: where the files go.
        options: `parts` is into how many files the tensors are cut.

    Returns:
        The weight files, in order.

    Raises:
        UsageError: a model that is no plain Llama or Mistral, or a number of parts that does not
            divide its sizes. Nothing is written then.
        WorkError: tensors that Meta's format does not have or that are missing; as `write_torch`.
    """
    paths = []
    for number, pending in enumerate(_files(plan, options.parts)):
        paths.append(folder / f"consolidated.{number:02d}.pth")
        write_torch(paths[-1], pending)
    write_json(folder / PARAMS, params_of(_config(plan.view)))
    return paths


def check(plan: Plan, options: WriteOptions) -> None:
    """Refuse what `write` would refuse, from headers alone."""
    _files(plan, options.parts)


def _files(plan: Plan, parts: int) -> list[list[PendingTensor]]:
    config = _config(plan.view)
    require_whole_heads(parts, config.num_attention_heads, config.num_key_value_heads)
    return divide(plan.tensors, dialect(config.vocab_size), plan.config, parts)


def _config(view: Checkpoint) -> RotaryConfig:
    from tfcli.models.configs.rotary import RotaryConfig
    from tfcli.models.registry import read_config

    config = read_config(view.config)
    if not isinstance(config, RotaryConfig):
        raise UsageError(
            f"model_type is {config.model_type}; llama and mistral have Meta's format",
            where="config.json",
        )
    return config


WRITER = Writer(write, prepare, check, own_config=True)  # params.json, and no config.json
