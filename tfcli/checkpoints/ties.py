"""What the model core knows of a checkpoint's names: which are tied, which are no parameters.

A checkpoint of a family that is not known, or with a setting that is not supported, can still be
converted and inspected: then nothing is known of its names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.plain_names import are_plain
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, WorkError

if TYPE_CHECKING:
    from tfcli.checkpoints.checkpoint import Checkpoint
    from tfcli.models.config import BaseConfig
    from tfcli.models.model import Model

    Known = tuple[type[Model], BaseConfig]


def config_ties(config: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, str]:
    """Tensor name -> the name that it equals, for the ties that a config.json asks for.

    Args:
        config: the content of config.json.
        names: those of a checkpoint: only pairs that it holds, in its own spelling. None: every
            pair, as tfcli and transformers write the names.
    """
    names = None if names is None else list(names)
    if names is not None and are_plain(config, names):
        return {}
    found = _understood(config)
    if found is None:
        return {}
    model_class, parsed = found
    ties = model_class.ties_of(parsed)
    if names is None:
        return {_written(found, n): _written(found, o) for n, o in ties.items()}
    spelt = _spellings(found, names)
    pairs = ((_held(found, n, spelt), _held(found, o, spelt)) for n, o in ties.items())
    return {name: origin for name, origin in pairs if name is not None and origin is not None}


def require_ties(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint with two tensors that differ although the config ties them.

    Raises:
        WorkError: names both.
    """
    from tfcli.checkpoints.io.tensor_pieces import same_bits

    for name, origin in checkpoint.tied.items():
        one, other = checkpoint.tensors[name], checkpoint.tensors[origin]
        if not same_bits(one.values, other.values):
            raise WorkError(
                f"{short(name)} and {short(origin)} differ, but the config ties them",
                where=str(checkpoint.path),
                fix="write them apart first: tfcli convert does",
            )


def surplus(config: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """The names in a checkpoint that are no parameters of the model: computed buffers, old masks,
    and tied tensors whose partner is there too.
    """
    names = set(names)
    found = None if are_plain(config, names) else _understood(config)
    if found is None:
        return set()
    from tfcli.models.rules import current_name

    model_class, parsed = found
    rules, patterns = model_class.rules_of(parsed), list(model_class.ignorable_of(parsed))
    ignored = {n for n in names if any(re.search(p, current_name(rules, n)) for p in patterns)}
    return ignored | config_ties(config, names).keys()


def _written(known: Known, name: str) -> str:
    """How a checkpoint that is written today calls a parameter."""
    model_class, parsed = known
    from tfcli.models.rules import place_of

    stored = place_of(model_class.rules_of(parsed), name).name
    return stored.removeprefix(f"{model_class.base()}.") if model_class.bare() else stored


def _held(known: Known, name: str, spelt: Mapping[str, str]) -> str | None:
    """What a checkpoint calls a parameter; None if it does not hold it."""
    model_class, parsed = known
    from tfcli.models.rules import place_of

    stored = place_of(model_class.rules_of(parsed), name).name
    # Checkpoints of base models leave the prefix out.
    return spelt.get(stored) or spelt.get(stored.removeprefix(f"{model_class.base()}."))


def _spellings(known: Known, names: Iterable[str]) -> dict[str, str]:
    """Today's spelling of each name -> the checkpoint's."""
    model_class, parsed = known
    from tfcli.models.rules import current_name

    return {current_name(model_class.rules_of(parsed), name): name for name in names}


def _understood(config: Mapping[str, Any]) -> Known | None:
    """The class that a checkpoint is loaded as, and its config; None if it is not known."""
    from tfcli.models.registry import get_family, read_config

    try:
        parsed = read_config(config)
        family = get_family(parsed.model_type)
        return family.model_class(family.task_of(parsed.architectures)), parsed
    except ModelError:
        return None
