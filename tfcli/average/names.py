"""Sources whose tensors are called alike, though each file spells them in its own way."""

from __future__ import annotations

import dataclasses

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.family_rules import family_rules
from tfcli.checkpoints.ties import surplus
from tfcli.models.rules import current_name


def named_alike(sources: list[Checkpoint]) -> list[Checkpoint]:
    """The sources under the names of the first.

    Checkpoints leave the body's prefix out, use a name of old, keep one side or the other of a tied
    pair, or hold masks that the model computes: where one of them lacks such a tensor, it is left
    out of all.
    """
    keyed = [_keys(source) for source in sources]
    first = keyed[0]
    everywhere = set(first).intersection(*keyed)
    found = []
    for source, keys in zip(sources, keyed, strict=True):
        computed = surplus(source.config, source.tensors)
        tensors = {}
        for key, name in keys.items():
            if key not in everywhere and name in computed:
                continue
            spelt = first.get(key, name)
            tensors[spelt] = dataclasses.replace(source.tensors[name], name=spelt)
        found.append(dataclasses.replace(source, tensors=tensors))
    return found


def _keys(source: Checkpoint) -> dict[str, str]:
    """What a tensor is in the model -> its name in the files, each tied pair once."""
    known = family_rules(source.config)
    if known is None:
        return {name: name for name in source.distinct}
    rules, prefix = known
    ties = {
        current_name(rules, name).removeprefix(prefix): origin.removeprefix(prefix)
        for name, origin in source.ties.items()
    }
    keys = {}
    for name in source.distinct:
        key = current_name(rules, name).removeprefix(prefix)
        keys[ties.get(key, key)] = name
    return keys
