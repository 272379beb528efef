"""Lists of modules that stay as they are, as transformers' configs have them.

Source: transformers 5.23, `quantizers/quantizers_utils.py` (should_convert_module).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from tfcli.models.errors import ModelError
from tfcli.models.layouts.errors import WHERE
from tfcli.models.layouts.packing import Packing

if TYPE_CHECKING:
    from tfcli.models.model import Model


def skips(patterns: Sequence[str], name: str) -> bool:
    """Whether a linear stays as it is, by transformers' rules.

    A pattern is a regular expression that matches the beginning of the name, up to a dot or its
    end, or the end of a name as it is written.
    """
    return any(
        name.endswith(pattern) or re.match(rf"(?:{pattern})(?:(?<=\.)|(?=\.|$))", name)
        for pattern in patterns
    )


def said(name: str, packed: Iterable[str]) -> str:
    """What skips a linear by its name, and none of those that are packed."""
    meets_another = any(skips((name,), other) for other in packed)
    return f"^{re.escape(name)}$" if meets_another else name


def read_names(key: str, names: Any) -> tuple[str, ...] | None:
    """A list of names and patterns; None where there is none.

    Raises:
        ModelError: it is no such list.
    """
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{key}: not a list of names", where=WHERE)
    for name in names:
        try:
            re.compile(name)
        except (re.error, RecursionError, OverflowError) as error:
            raise ModelError(f"{key}: bad pattern {name!r}: {error}", where=WHERE) from None
    return tuple(names)


def without_tied(model: Model, found: dict[str, Packing]) -> dict[str, Packing]:
    """Those linears that share no tensor with a table, which would be packed with them."""
    tied = {name.rpartition(".")[0] for pair in model.active_ties().items() for name in pair}
    return {name: packing for name, packing in found.items() if name not in tied}


def fitting(model: Model, found: dict[str, Packing]) -> dict[str, Packing]:
    """Those linears whose sizes a packing has, of libraries that leave others dense."""
    fits = {}
    for name, packing in found.items():
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear), "a layout names linears"
        if packing.misfit(linear.in_features, linear.out_features) is None:
            fits[name] = packing
    return fits
