"""Which type a tensor of a GGUF file gets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.gguf.types import BY_NAME, WRITABLE
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.errors import UsageError, hint

_COARSE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1")
_SINGLE = ("ffn_gate_inp", "position_embd", "token_types")
TypeOf = Callable[[str, int, int], tuple[str, str]]


def stays_single(name: str, dimensions: int) -> bool:
    """Whether a GGUF tensor is float32 whatever type is asked for, as llama.cpp requires."""
    stem = name.removesuffix(".weight")
    return (
        dimensions < 2
        or stem == name
        or stem.endswith("_norm")
        or stem.rpartition(".")[2] in _SINGLE
    )


def type_chooser(
    kind: str | None,
    overrides: Sequence[tuple[str, str]],
    *,
    tied: bool = False,
    experts: int = 0,
) -> TypeOf:
    """Which type a tensor gets: (GGUF name, dimensions, row width) -> (type, note).

    Args:
        kind: the type of most tensors; None: no type, which is "", where no pattern fits.
        overrides: (regular expression found in the GGUF name, type); the first that fits counts.
        tied: the embedding is the output matrix too.
        experts: how many a layer has.

    Raises:
        UsageError: a type that is not written, or no regular expression.
    """
    rules = []
    everything = [] if kind is None else [("", kind)]
    given = [(*rule, "") for rule in (*overrides, *everything)]
    given[len(overrides) : len(overrides)] = _finer(kind, tied, experts)
    for pattern, name, why in given:
        if name.upper() not in WRITABLE:
            raise UsageError(
                f"{name!r} is no type that can be written", fix=hint(name.upper(), WRITABLE)
            )
        try:
            rules.append((re.compile(pattern), name.upper(), why))
        except re.error as error:
            raise UsageError(f"{pattern!r} is no regular expression: {error}") from None

    def choose(name: str, dimensions: int, width: int) -> tuple[str, str]:
        if stays_single(name, dimensions):
            return "F32", ""
        chosen, why = next((rule[1:] for rule in rules if rule[0].search(name)), ("", ""))
        if not chosen or width % BY_NAME[chosen].block == 0:
            return chosen, why
        return "F16", f"rows of {width} do not fill {chosen}'s blocks"

    return choose


def _finer(kind: str | None, tied: bool, experts: int) -> list[tuple[str, str, str]]:
    """What llama.cpp's llama-quantize keeps finer than the rest (src/llama-quant.cpp).

    It takes Q6_K for the output matrix, and Q8_0 where that does not fit; nothing here writes Q6_K.
    """
    if kind is None or kind.upper() not in _COARSE:
        return []
    output = "token_embd" if tied else "output"
    found = [(rf"^{output}\.weight$", "Q8_0", "llama.cpp keeps the output matrix finer")]
    if experts == 8:
        found.append((r"\.attn_[kv]\.weight$", "Q8_0", "llama.cpp keeps it finer beside 8 experts"))
    return found


def common_type(infos: Iterable[TensorInfo | TensorEntry]) -> str:
    """The floating type that most bytes have; F32 where there is none."""
    held: Counter[str] = Counter()
    for info in infos:
        if info.dtype in ("F32", "F16", "BF16"):
            held[info.dtype] += info.nbytes
    return held.most_common(1)[0][0] if held else "F32"
