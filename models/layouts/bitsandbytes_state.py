"""What bitsandbytes says of a weight in 4 bits beside its tensors: its quant_state, as JSON.

Source: bitsandbytes 0.50, `functional.py` (QuantState).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
COMPUTE = ("float32", "bfloat16", "float16")
"""bnb_4bit_compute_dtype, and the types of weights that were quantized."""
KINDS = ("nf4", "fp4")


@dataclass(frozen=True)
class State:
    """What quant_state says of a weight in 4 bits.

    Args:
        kind: nf4 or fp4.
        block_size: weights that share a scale.
        dtype: of the weight that was quantized.
        shape: outputs and inputs.
        nested: scales that share one of theirs, its type, and what is added to all scales.
    """

    kind: str
    block_size: int
    dtype: str
    shape: tuple[int, int]
    nested: tuple[int, str, float] | None = None

    @property
    def plain(self) -> tuple[str, int, str, tuple[int, int]]:
        """All but the scales' scales."""
        return self.kind, self.block_size, self.dtype, self.shape

    def write(self) -> str:
        """As JSON, in bitsandbytes' order."""
        said: dict[str, Any] = {
            "quant_type": self.kind,
            "blocksize": self.block_size,
            "dtype": self.dtype,
            "shape": list(self.shape),
        }
        if self.nested is not None:
            size, dtype, offset = self.nested
            said |= {"nested_blocksize": size, "nested_dtype": dtype, "nested_offset": offset}
        return json.dumps(said)

    @classmethod
    def read(cls, part: Tensor) -> State:
        """From the bytes of the file.

        Raises:
            ValueError: it does not say what is needed, or not in a way that there is.
        """
        try:
            said = json.loads(bytes(part.reshape(-1).tolist()).decode())
        except (ValueError, RecursionError):
            raise ValueError("it is no JSON") from None
        if not isinstance(said, dict):
            raise ValueError("it is no JSON object")
        kind = _one_of(said, "quant_type", KINDS)
        block_size = _one_of(said, "blocksize", BLOCK_SIZES)
        dtype = _one_of(said, "dtype", COMPUTE)
        shape = said.get("shape")
        sizes = shape if isinstance(shape, list) else []
        if len(sizes) != 2 or not all(type(n) is int and 0 < n < 1 << 31 for n in sizes):
            raise ValueError(f"shape: {shape!r} is not two sizes")
        nested = None
        if "nested_offset" in said:
            offset = said["nested_offset"]
            if type(offset) not in (int, float) or not math.isfinite(offset):
                raise ValueError(f"nested_offset: {offset!r} is no number")
            size = said.get("nested_blocksize")
            if type(size) is not int or size < 1:
                raise ValueError(f"nested_blocksize: {size!r} is no size")
            nested = (size, str(said.get("nested_dtype")), float(offset))
        return cls(kind, block_size, dtype, (sizes[0], sizes[1]), nested)


def _one_of(said: Mapping[str, Any], key: str, known: Sequence[Any]) -> Any:
    if said.get(key) not in known:
        listing = ", ".join(map(str, known))
        raise ValueError(f"{key}: {said.get(key)!r} is not supported; supported: {listing}")
    return said[key]
