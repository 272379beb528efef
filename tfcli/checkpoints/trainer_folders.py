"""What the folders that trainers save have in common: wrapped names, and no config of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.family_rules import family_rules
from tfcli.checkpoints.io.dtypes import FLOATS, TORCH_NAMES
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

# Modules that wrap another one and stand in the names of what is inside.
_INSIDE = re.compile(
    r"(?<![^.])(?:_fsdp_wrapped_module|_fpw_module|_checkpoint_wrapped_module|_orig_mod"
    r"|_forward_module|base_layer)[.]"
)
_OUTSIDE = ("module.", "base_model.")
_BODIES = ("model.", "transformer.")  # of families that are not known


def find_config(
    path: Path, config_from: Path | None, *, required: bool = True
) -> tuple[dict[str, Any], Path]:
    """The config.json that belongs to a folder of weights, and the folder that it is in.

    The one that the user names counts, then that of the folder, then that of its parent.

    Args:
        path: the folder of weights.
        config_from: the folder that the user names.
        required: without it, an empty config and the folder itself stand for one that is missing.

    Raises:
        WorkError: there is none although one is required, or it cannot be read.
    """
    for place in config_places(path) if config_from is None else [config_from]:
        if (place / CONFIG).is_file():
            return read_object(place, CONFIG), place
    if not required and config_from is None:
        return {}, path
    raise WorkError(
        f"neither the folder nor its parent has a {CONFIG}"
        if config_from is None
        else f"the folder has no {CONFIG}",
        where=str(path if config_from is None else config_from),
        fix="name a folder that has it, such as the model that was trained, with config_from",
    )


def config_places(path: Path) -> list[Path]:
    """The folders in which the config.json of a folder of weights may be; the first counts."""
    return [path] if (path / CONFIG).is_file() else [path, path.resolve().parent]


def unwrap(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Stored name -> Hugging Face's, where a trainer put the model into other modules.

    1. The names that FSDP, activation checkpointing, torch.compile, Lightning and PEFT put in
       between go.
    2. `module.` and `base_model.` in front of all names goes, as often as it stands there.
    3. `model.` in front of all names goes when the family's own prefix follows it in any of them,
       as in `model.model.layers.0` and `model.lm_head`.

    Raises:
        WorkError: two tensors would have one name.
    """
    found = {name: _INSIDE.sub("", name) for name in names}
    rules = family_rules(config)
    bodies = _BODIES if rules is None else (rules[1],)
    while found:
        values = found.values()
        outer = next((p for p in _OUTSIDE if all(n.startswith(p) for n in values)), None)
        if outer is not None:
            prefix = outer
        elif all(name.startswith("model.") for name in values) and any(
            name.startswith(f"model.{body}") for name in values for body in bodies
        ):
            prefix = "model."
        else:
            break
        found = {stored: name.removeprefix(prefix) for stored, name in found.items()}
    owners: dict[str, str] = {}
    for stored, name in found.items():
        other = owners.setdefault(name, stored)
        if other is not stored:
            raise WorkError(f"{short(other)} and {short(stored)} are both named {short(name)}")
    return found


def with_stored_dtype(config: Mapping[str, Any], tensors: Iterable[TensorEntry]) -> dict[str, Any]:
    """A config that names the type which most of the stored values have.

    Trainers keep weights in another type than the model that they began with. An empty config
    stands for none and stays so.
    """
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in FLOATS:
            counts[tensor.dtype] += tensor.elements
    if not counts or not config:
        return dict(config)
    ((code, _),) = counts.most_common(1)
    kept = {key: value for key, value in config.items() if key != "torch_dtype"}
    return {**kept, "dtype": TORCH_NAMES[code]}
