"""Whether tensors are those that their config builds: names, shapes, none left out, none empty."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.expected import Expected, expected
from tfcli.checkpoints.plain_names import is_plain_decoder
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, WorkError
from tfcli.models.errors import TooLargeError

if TYPE_CHECKING:
    from tfcli.models.matching import LoadAccount
    from tfcli.models.model import Model
    from tfcli.models.rules import Place

_FIX = "check that the config belongs to these weights"
_SHOWN = 4  # names in a message; the rest is counted


def require_fit(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], path: Path
) -> bool:
    """Refuse what no program could load as its config says.

    Nothing is known of families and packings that the model core does not build.

    Args:
        config: the content of config.json.
        shapes: of the tensors, by Hugging Face's names.
        path: where they come from.

    Returns:
        whether they were compared

    Raises:
        WorkError: names a tensor, and where it can be told the key of the config.
    """
    if is_plain_decoder(config, shapes):
        return True
    try:
        known = expected(config, shapes)
    except TooLargeError as error:
        raise WorkError(error.what, where=str(path), fix=_FIX) from error
    if known is None:
        return False
    from tfcli.models.layouts.packing import takes_shape
    from tfcli.models.matching import LoadAccount, match_names

    shapes = _with_dense_tables(config, shapes, known.model)
    account = LoadAccount()
    slots = known.model.state_dict(keep_vars=True)
    try:
        plan = match_names(known.model, shapes, slots, account)
    except ModelError as error:
        raise WorkError(error.what, where=str(path), fix=_FIX) from error
    _require_all(known, config, plan, account, path)
    wrong = []
    for place in {place.name: place for place in plan.values()}.values():
        stored = known.place(known.spelt(place.name))
        if stored is not None and not takes_shape(known.shapes[stored], shapes[place.name]):
            wrong.append(_difference(place.name, shapes[place.name], known.shapes[stored], config))
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise WorkError(
            f"the weights do not fit the config: {'; '.join(wrong[:_SHOWN])}{more}",
            where=str(path),
            fix=_FIX,
        )
    return True


def _with_dense_tables(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], model: Model
) -> Mapping[str, tuple[int, ...]]:
    """The shapes with those of dense tables of embeddings in the place of packed ones, of layouts
    whose readers see from the tensors that a table is packed."""
    from torch import nn

    from tfcli.models.layouts.layout import Layout
    from tfcli.models.layouts.registry import layout_of

    said = config.get("quantization_config")
    layout = layout_of(said) if said and model.config.quantization is not None else None
    if not isinstance(layout, Layout) or not layout.tables:
        return shapes
    found = dict(shapes)
    for name, module in model.named_modules():
        packing = layout.packing_of(name) if isinstance(module, nn.Embedding) else None
        if packing is not None and any(name + end in shapes for end in layout.shown_by):
            try:
                columns, rows = packing.features(partial(_part_shape, shapes, name))
            except (KeyError, ValueError):
                continue  # what is there is then named as something that the model has no place for
            for part in packing.parts(columns, rows):
                found.pop(f"{name}.{part}", None)
            found[model.place_of(f"{name}.weight").name] = (rows, columns)
    return found


def _part_shape(shapes: Mapping[str, tuple[int, ...]], module: str, part: str) -> tuple[int, ...]:
    return shapes[f"{module}.{part}"]


def _require_all(
    known: Expected,
    config: Mapping[str, Any],
    plan: Mapping[str, Place],
    account: LoadAccount,
    path: Path,
) -> None:
    """Refuse a checkpoint that lacks a tensor; a head may be missing whole if none is named."""
    from tfcli.models.matching import some
    from tfcli.models.quantized import left_out

    model = known.model
    buffers = {name for name, _ in model.named_buffers() if model.default(name) is not None}
    given = {*plan, *account.tied, *buffers, *left_out(model, plan)}
    lacking = [name for name in model.state_dict(keep_vars=True) if name not in given]
    if not config.get("architectures") and all(model.may_be_new(name) for name in lacking):
        return
    if lacking:
        raise WorkError(f"the weights lack {some(lacking)}", where=str(path), fix=_FIX)


def _difference(
    name: str, found: tuple[int, ...], wanted: tuple[int, ...], config: Mapping[str, Any]
) -> str:
    """What a shape is, what it should be, and the keys of the config that say so."""
    if 0 in found:
        return f"{short(name)} is empty, the config asks for {list(wanted)}"
    sizes = set(wanted) - set(found) if len(found) == len(wanted) else set(wanted)
    keys = [
        key
        for key, value in config.items()
        if isinstance(value, int) and not isinstance(value, bool) and value in sizes
    ]
    why = f" ({', '.join(f'{key}: {config[key]}' for key in keys)})" if keys else ""
    return f"{short(name)} is {list(found)}, the config asks for {list(wanted)}{why}"
