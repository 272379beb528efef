"""Meta's original folders: params.json and consolidated.NN.pth, cut into any number of parts."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.dialect.rotary_rows import to_pairs
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.casting import cast
from tfcli.checkpoints.io.dtypes import torch_dtype
from tfcli.checkpoints.meta.params import PARAMS, params_of
from tfcli.checkpoints.meta.rules import BY_NAME, OUTPUT, Rule, split_layer
from tfcli.checkpoints.plan import Plan, Planned
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.serialize import write_torch
from tfcli.errors import UsageError
from tfcli.files import write_json

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.models.configs.rotary import RotaryConfig

_CUT_ROWS_FROM = 128_000  # the vocabulary of Llama 3, whose embedding is cut into rows


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
    """Write a folder that Meta's code and `readers.meta` read.

    Memory is that of one whole tensor beside the mapped source; each is made once for every part.

    Args:
        plan: of a view that went through `prepare`.
        folder: where the files go.
        options: `parts` is into how many files the tensors are cut.

    Returns:
        The weight files, in order.

    Raises:
        UsageError: a model that is no plain Llama or Mistral, tensors that it does not have, or a
            number of parts that does not divide its sizes. Nothing is written then.
        WorkError: as `write_torch`.
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
    if parts < 1 or config.num_key_value_heads % parts or config.num_attention_heads % parts:
        raise UsageError(
            f"{parts} parts do not divide {config.num_attention_heads} and "
            f"{config.num_key_value_heads} heads",
            where="parts",
        )
    return [_part(plan, config, number, parts) for number in range(parts)]


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


def _part(plan: Plan, config: RotaryConfig, number: int, parts: int) -> list[PendingTensor]:
    pending = []
    for item in plan.written:
        template, layer = split_layer(item.tensor.name)
        rule = BY_NAME.get(template)
        if rule is None:
            raise UsageError(f"Meta's format has no tensor for {short(item.tensor.name)}")
        along = _along(rule, config) if parts > 1 else None
        shape = list(item.tensor.shape)
        if along is not None:
            if shape[along] % parts:
                raise UsageError(
                    f"{parts} parts do not divide {short(item.tensor.name)} of {shape}",
                    where="parts",
                )
            shape[along] //= parts
        head_dim = config.head_dim if rule.rotary else None
        read = partial(_read, item, along, number, tuple(shape), head_dim)
        name = rule.stored.replace("{}", str(layer))
        pending.append(PendingTensor(name, item.dtype, tuple(shape), read))
    names = {item.name for item in pending}
    if OUTPUT not in names:
        raise UsageError("the model has no lm_head.weight, which Meta's format needs")
    return pending


def _along(rule: Rule, config: RotaryConfig) -> int | None:
    if len(rule.cut) > 1:
        return 0 if config.vocab_size >= _CUT_ROWS_FROM else 1
    return rule.cut[0] if rule.cut else None


def _read(
    item: Planned, along: int | None, number: int, shape: tuple[int, ...], head_dim: int | None
) -> Tensor:
    values = cast(item.tensor.read(), torch_dtype(item.dtype), item.tensor.name)
    if along is not None:
        values = values.narrow(along, number * shape[along], shape[along])
    return values if head_dim is None else to_pairs(values, head_dim).reshape(shape)


WRITER = Writer(write, prepare, check, own_config=True)  # params.json, and no config.json
