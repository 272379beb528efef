"""Whether two checkpoints have the same config but for what changes nothing in their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.located import located
from tfcli.errors import ModelError, WorkError

# What may differ between finetunes of one model: names, types, special tokens and switches that
# change nothing in what the weights mean.
FREE = {
    "_name_or_path",
    "architectures",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "initializer_range",
    "pad_token_id",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


def require_same_config(
    first: Checkpoint, other: Checkpoint, *, free: frozenset[str] = frozenset()
) -> None:
    """Refuse checkpoints whose configs differ in more than FREE and `free`.

    What their family reads in them is compared, with its defaults filled in: a key that one leaves
    out, or spells as older versions did, is no difference.

    Raises:
        WorkError: names the key and both values.
        ModelError: one of the two can be read, and the other says what its family has not.
    """
    if first.config.get("model_type") == other.config.get("model_type"):
        _require_both_readable(first, other, free)
    ours, theirs = meaning(first.config, free), meaning(other.config, free)
    for key in sorted({*ours, *theirs} - FREE - free):
        if ours.get(key) != theirs.get(key):
            raise WorkError(
                f"{key} is {_shown(theirs.get(key))} here and {_shown(ours.get(key))} "
                f"in {first.path}",
                where=str(other.path),
                fix="take checkpoints of one architecture and one set of settings",
            )


def _require_both_readable(first: Checkpoint, other: Checkpoint, free: frozenset[str]) -> None:
    """Compared key by key, what can be read differs from what cannot in all of its defaults."""
    from tfcli.models.registry import read_config

    errors = []
    for checkpoint in (first, other):
        try:
            read_config({k: v for k, v in checkpoint.config.items() if k not in free})
        except ModelError as error:
            errors.append(located(error, checkpoint.path))
    if len(errors) == 1:
        raise errors[0]


def meaning(config: Mapping[str, Any], free: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What a family reads in a config.json, with defaults; the content of one that is not known.

    Args:
        config: the content.
        free: keys that are left out before it is read.
    """
    from tfcli.models.registry import read_config

    plain = {key: value for key, value in config.items() if key not in free}
    try:
        return read_config(plain).replace(extra={}).to_dict()
    except ModelError:
        return plain


def _shown(value: Any) -> str:
    return "absent" if value is None else repr(value)
