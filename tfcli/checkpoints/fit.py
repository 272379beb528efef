"""Whether tensors are those that their config builds: names, shapes, none left out, none empty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.expected import Expected, expected
from tfcli.checkpoints.plain_names import is_plain_decoder
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, WorkError
from tfcli.models.errors import TooLargeError

if TYPE_CHECKING:
    from tfcli.models.matching import LoadAccount
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
