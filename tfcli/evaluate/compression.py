"""What general-purpose compressors make of a text, in the unit of a language model's score."""

from __future__ import annotations

import gzip
import lzma

_BEST = 9 | lzma.PRESET_EXTREME


def compression_baselines(text: bytes, prime: bytes | None = None) -> dict[str, float]:
    """Bits per byte of `gzip -9`, of `xz -9e`, and of xz that has seen another text before.

    Args:
        text: what to compress, not empty.
        prime: the other text, for example what a model was trained on. Its cost is taken off:
            size of both compressed together, minus its own. xz sees 64 MiB back.

    Returns:
        bits per byte by name: gzip, xz, and with `prime`, xz_primed
    """
    sizes = {
        "gzip": len(gzip.compress(text, compresslevel=9, mtime=0)),
        "xz": len(lzma.compress(text, preset=_BEST)),
    }
    if prime is not None:
        together = len(lzma.compress(prime + text, preset=_BEST))
        sizes["xz_primed"] = together - len(lzma.compress(prime, preset=_BEST))
    return {name: 8 * size / len(text) for name, size in sizes.items()}
