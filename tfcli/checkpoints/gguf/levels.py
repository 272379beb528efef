"""A quantized GGUF file whose linears stay quantized, for a layout that holds the same numbers."""

from __future__ import annotations

from dataclasses import replace

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.family_names import in_family_names
from tfcli.checkpoints.family_rules import family_rules
from tfcli.checkpoints.gguf.from_gguf import plan_from_gguf
from tfcli.checkpoints.gguf.packed import ROWS
from tfcli.checkpoints.gguf.read import only_file
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.packed.linears import PackedLinear
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError
from tfcli.models.layouts.ggml import GGML_TYPES
from tfcli.models.layouts.ggml_levels import GGMLLevels
from tfcli.models.loading import build
from tfcli.models.registry import read_config
from tfcli.models.rules import Place, place_of
from tfcli.models.walks import linears_of


def with_levels(view: Checkpoint) -> tuple[Checkpoint, list[PackedLinear]]:
    """The file with the rows of its blocks' linears in the place of their values.

    Tables, heads and norms stay as they are in the view.

    Args:
        view: of a GGUF file, all of whose values are exact.

    Returns:
        The checkpoint, and the linears whose rows it holds; none of a file that is not quantized.

    Raises:
        UsageError: a linear whose type is no grid of levels.
        WorkError, ModelError: as of reading the file.
    """
    planned = plan_from_gguf(only_file(view.path), lambda name: True, packed=tuple(GGML_TYPES))
    rows = in_family_names(replace(view, tensors=planned.tensors)).tensors
    rules = family_rules(view.config)
    model = build(read_config(view.config), at_most=view.most_values)
    tensors, linears = dict(view.tensors), []
    for name, module in linears_of(model).items():
        place = place_of(rules[0], f"{name}.weight") if rules else Place(f"{name}.weight")
        entry = rows.get(place.name)
        if entry is None or place.index is not None or entry.dtype != ROWS:
            _require_plain(view, place.name)
            continue
        packing = GGMLLevels(entry.stored)
        linear = PackedLinear(name, packing, module.in_features, module.out_features, place)
        part = packing.parts(module.in_features, module.out_features)["rows"]
        turned = part.shape[::-1] if place.transposed else part.shape
        if entry.shape != turned:
            raise UsageError(
                f"{short(place.name)}: its rows are divided or joined on the way from GGUF",
                where=str(view.path),
                fix="tfcli convert without to_layout makes a dense checkpoint of it",
            )
        read = (lambda read=entry.read: read().t()) if place.transposed else entry.read
        del tensors[place.name]
        key = f"{name}.rows"
        tensors[key] = replace(entry, name=key, shape=part.shape, read=read)
        linears.append(linear)
    return replace(view, tensors=tensors), linears


def _require_plain(view: Checkpoint, name: str) -> None:
    """Refuse a quantized weight that would become dense without a word.

    Raises:
        UsageError: names it.
    """
    held = view.tensors[name].stored if name in view.tensors else ""
    if held and not BY_NAME[held].plain:
        why = "is part of a stack" if held in GGML_TYPES else "is no grid of levels with a scale"
        raise UsageError(
            f"{short(name)}: {held} {why}, and no other layout stores it",
            where=f"{view.path}, to_layout",
            fix="tfcli convert without to_layout makes a dense checkpoint of it",
        )
