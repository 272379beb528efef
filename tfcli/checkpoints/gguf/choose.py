"""Which type a tensor of a GGUF file gets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.gguf.names import stays_single
from tfcli.checkpoints.gguf.types import BY_NAME, WRITABLE
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.errors import UsageError, hint

TypeOf = Callable[[str, int, int], tuple[str, str]]


def type_chooser(kind: str | None, overrides: Sequence[tuple[str, str]]) -> TypeOf:
    """Which type a tensor gets: (GGUF name, dimensions, row width) -> (type, note).

    Args:
        kind: the type of most tensors; None: no type, which is "", where no pattern fits.
        overrides: (regular expression found in the GGUF name, type); the first that fits counts.

    Raises:
        UsageError: a type that is not written, or no regular expression.
    """
    rules = []
    for pattern, name in (*overrides, *([] if kind is None else [("", kind)])):
        if name.upper() not in WRITABLE:
            raise UsageError(
                f"{name!r} is no type that can be written", fix=hint(name.upper(), WRITABLE)
            )
        try:
            rules.append((re.compile(pattern), name.upper()))
        except re.error as error:
            raise UsageError(f"{pattern!r} is no regular expression: {error}") from None

    def choose(name: str, dimensions: int, width: int) -> tuple[str, str]:
        if stays_single(name, dimensions):
            return "F32", ""
        chosen = next((kind for pattern, kind in rules if pattern.search(name)), "")
        if not chosen or width % BY_NAME[chosen].block == 0:
            return chosen, ""
        return "F16", f"rows of {width} do not fill {chosen}'s blocks"

    return choose


def common_type(infos: Iterable[TensorInfo | TensorEntry]) -> str:
    """The floating type that most bytes have; F32 where there is none."""
    held: Counter[str] = Counter()
    for info in infos:
        if info.dtype in ("F32", "F16", "BF16"):
            held[info.dtype] += info.nbytes
    return held.most_common(1)[0][0] if held else "F32"
