"""Joining pairs up to a number of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfcli.pairs.read import Pair

Count = Callable[[str], int]
"""The tokens of a text."""


def pack_pairs(
    pairs: Sequence[Pair], most: int, source_tokens: Count, target_tokens: Count
) -> list[Pair]:
    """Pairs that follow each other, joined with a space as long as both sides fit.

    No pair is cut or moved: a pair that does not fit by itself stays alone.

    Args:
        pairs: in their order.
        most: tokens of a joined source, and of a joined target.
        source_tokens: counts those of a source.
        target_tokens: counts those of a target.
    """
    packed: list[Pair] = []
    for pair in pairs:
        if packed:
            joined = Pair(
                f"{packed[-1].source} {pair.source}", f"{packed[-1].target} {pair.target}"
            )
            if source_tokens(joined.source) <= most and target_tokens(joined.target) <= most:
                packed[-1] = joined
                continue
        packed.append(pair)
    return packed
