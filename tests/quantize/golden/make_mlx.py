"""Makes mlx.safetensors: linears that MLX quantizes, and the weights that it reads of them.

scripts/mlx
.mlx/bin/python tests/quantize/golden/make_mlx.py
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

OUT, INTO = 12, 128


def weight() -> mx.array:
    """[out, in], by arithmetic."""
    out, into = mx.arange(OUT)[:, None], mx.arange(INTO)[None]
    return ((out * out * 5 + into * 37 + out * into * 3 + into // 9) % 211 - 97) / 128


def main() -> None:
    held = {}
    for bits in (2, 3, 4, 5, 6, 8):
        size = 64 if bits in (3, 8) else 32
        kind = mx.float16 if bits in (2, 4) else mx.float32
        words, scales, biases = mx.quantize(weight().astype(kind), group_size=size, bits=bits)
        wide = scales.astype(mx.float32), biases.astype(mx.float32)
        dense = mx.dequantize(words, *wide, group_size=size, bits=bits)
        found = {"weight": words, "scales": scales, "biases": biases, "dense": dense}
        held |= {f"{bits}-{size}.{part}": value for part, value in found.items()}
    made_by = {"made_by": f"mlx {version('mlx')}"}
    mx.save_safetensors(str(Path(__file__).parent / "mlx.safetensors"), held, made_by)


main()
