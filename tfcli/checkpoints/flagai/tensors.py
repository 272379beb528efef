"""FlagAI's tensors of Hugging Face's and the way back: its rules, and what it has once or twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.ranks import divide, require_whole_heads
from tfcli.checkpoints.flagai.configs import is_flagai, to_core
from tfcli.checkpoints.flagai.rules import ONCE, TIES, dialect
from tfcli.checkpoints.flagai.weights import Stored
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.dtypes import dtype_code, stored_shape
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.errors import UsageError, WorkError
from tfcli.models.model import Model
from tfcli.models.saving import stored_place

# FlagAI cuts GPT-2's matrices as they are stored, which are turned when its class loads them.
_CUT = ("glm",)


def model_tensors(core: Model) -> dict[str, TensorEntry]:
    """A model's tensors by Hugging Face's names."""
    found = {}
    for name, tensor in core.state_dict().items():
        place = stored_place(core, name)
        like = place.write(torch.empty_like(tensor, device="meta"))
        code = dtype_code(like.dtype)
        shape, read = stored_shape(code, tuple(like.shape)), partial(place.write, tensor)
        found[place.name] = TensorEntry(place.name, code, shape, (name,), "", read)
    return found


def from_flagai(
    stored: Stored, kind: str, task: str, config: Mapping[str, Any]
) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Hugging Face's tensors of those of a folder, whichever names it uses itself.

    Args:
        stored: what it holds.
        kind: of the model.
        task: whose head is wanted.
        config: the content of config.json.

    Returns:
        The tensors, and what is left out -> why.

    Raises:
        WorkError: two tensors of one name, or one that does not fit the config.
    """
    rules = dialect(kind, task, own=is_flagai(config))
    beside = {name: f"{what}, beside the weights" for name, what in stored.beside.items()}
    tensors = rules.to_hf(stored.tensors, config)
    if task == "masked-lm":
        tensors = with_both_biases(tensors)
    return tensors, {**beside, **rules.unused(stored.tensors)}


def with_both_biases(tensors: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    """Both biases of Hugging Face's masked language head, of which FlagAI has one."""
    found = dict(tensors)
    for pair in ONCE["bert"].items():
        for name, origin in (pair, pair[::-1]):
            if origin in found and name not in found:
                found[name] = replace(found[origin], name=name, how=f"a copy of {origin}")
    return found


def differ(tensors: Mapping[str, TensorEntry], kind: str) -> bool:
    """Whether two tensors differ that Hugging Face's config would tie."""
    held = [(n, o) for n, o in TIES.get(kind, {}).items() if n in tensors and o in tensors]
    return any(not torch.equal(tensors[n].read(), tensors[o].read()) for n, o in held)


def flagai_files(
    tensors: Mapping[str, TensorEntry],
    kind: str,
    task: str,
    config: Mapping[str, Any],
    *,
    nested: bool,
    ranks: int = 1,
) -> list[list[PendingTensor]]:
    """What each model-parallel rank's file holds, as FlagAI's class of the task has it.

    Values are read here only where two tensors must be equal.

    Args:
        tensors: of a whole model, by Hugging Face's names.
        kind: of the model.
        task: whose head it has.
        config: the content of config.json.
        nested: FlagAI's class holds the body under a name of its own.
        ranks: how many files.

    Raises:
        UsageError: ranks for a kind that FlagAI cannot load in parts, or that do not divide a size.
        WorkError: parts that are missing or of different types, or two tensors for one place that
            differ.
    """
    if ranks > 1 and kind not in _CUT:
        raise UsageError(
            f"FlagAI loads no {kind} model from several files",
            where="parts",
            fix=f"leave parts out; {' and '.join(_CUT)} is written in parts",
        )
    require_whole_heads(ranks, to_core(config, kind).num_attention_heads)
    rules = dialect(kind, task, nested=nested)
    found = rules.with_prefix(tensors, config)
    for name, origin in ONCE.get(kind, {}).items():
        found = _without(found, name, origin)
    for tied, origin in TIES.get(kind, {}).items():
        wanted = not tied.startswith("cls.") or task == "masked-lm"
        if wanted and origin in found:
            found.setdefault(tied, replace(found[origin], name=tied))
    return divide(found, rules, config, ranks)


def _without(found: dict[str, TensorEntry], name: str, origin: str) -> dict[str, TensorEntry]:
    """The tensors without one that FlagAI takes another for."""
    one, other = found.get(name), found.get(origin)
    if one and other and one.read is not other.read and not same_bits(one.read(), other.read()):
        raise WorkError(
            f"{name} differs from {origin}, which FlagAI takes in its place",
            fix="keep this checkpoint in the Hugging Face layout",
        )
    return {origin if key == name else key: tensor for key, tensor in found.items()}
