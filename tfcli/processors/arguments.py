"""The arguments of a joint processor's call, by who takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfcli.errors import UsageError, hint


def sort_arguments(
    given: Mapping[str, Any], takers: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Taker -> its arguments. One that several take goes to each of them.

    Args:
        given: the arguments; those of one taker alone may come together, as `images_kwargs`.
        takers: name -> the arguments that it takes.

    Raises:
        UsageError: an argument that nobody takes, or that is given twice.
    """
    asked: dict[str, dict[str, Any]] = {name: {} for name in takers}
    for name in takers:
        for key, value in dict(given.get(f"{name}_kwargs") or {}).items():
            if key not in takers[name]:
                raise UsageError(
                    f"there is no argument {key!r}",
                    where=f"{name}_kwargs",
                    fix=hint(key, takers[name]),
                )
            if key in given:
                raise UsageError("is given twice", where=f"{key}, {name}_kwargs.{key}")
            asked[name][key] = value
    nested = {f"{name}_kwargs" for name in takers}
    for key, value in given.items():
        if key in nested:
            continue
        taking = [name for name, keys in takers.items() if key in keys]
        if not taking:
            every = dict.fromkeys(key for keys in takers.values() for key in keys)
            raise UsageError(f"there is no argument {key!r}", fix=hint(key, every))
        for name in taking:
            asked[name][key] = value
    return asked
