"""Element types of GGUF tensors and value types of its metadata.

Source: ggml.h and the GGUF specification (docs/gguf.md of ggml-org/ggml). Light on purpose:
headers are read and checked without numpy, torch or the gguf library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorType:
    """How a tensor's elements are stored: blocks of `block` elements in `size` bytes each.

    Args:
        name: ggml's spelling, such as `Q8_0`.
        number: its number in a file.
        block: elements in a block; 1 for plain types.
        size: bytes of a block.
    """

    name: str
    number: int
    block: int
    size: int

    @property
    def plain(self) -> bool:
        """Whether elements are stored one by one, as torch has them."""
        return self.block == 1

    def row_bytes(self, width: int) -> int:
        """The bytes of a row of `width` elements, which must fill whole blocks."""
        return width // self.block * self.size


_TYPES = (
    ("F32", 0, 1, 4),
    ("F16", 1, 1, 2),
    ("Q4_0", 2, 32, 18),
    ("Q4_1", 3, 32, 20),
    ("Q5_0", 6, 32, 22),
    ("Q5_1", 7, 32, 24),
    ("Q8_0", 8, 32, 34),
    ("Q8_1", 9, 32, 40),
    ("Q2_K", 10, 256, 84),
    ("Q3_K", 11, 256, 110),
    ("Q4_K", 12, 256, 144),
    ("Q5_K", 13, 256, 176),
    ("Q6_K", 14, 256, 210),
    ("Q8_K", 15, 256, 292),
    ("IQ2_XXS", 16, 256, 66),
    ("IQ2_XS", 17, 256, 74),
    ("IQ3_XXS", 18, 256, 98),
    ("IQ1_S", 19, 256, 50),
    ("IQ4_NL", 20, 32, 18),
    ("IQ3_S", 21, 256, 110),
    ("IQ2_S", 22, 256, 82),
    ("IQ4_XS", 23, 256, 136),
    ("I8", 24, 1, 1),
    ("I16", 25, 1, 2),
    ("I32", 26, 1, 4),
    ("I64", 27, 1, 8),
    ("F64", 28, 1, 8),
    ("IQ1_M", 29, 256, 56),
    ("BF16", 30, 1, 2),
    ("TQ1_0", 34, 256, 54),
    ("TQ2_0", 35, 256, 66),
    ("MXFP4", 39, 32, 17),
    ("NVFP4", 40, 64, 36),
    ("Q1_0", 41, 128, 18),
)
BY_NUMBER = {number: TensorType(name, number, *rest) for name, number, *rest in _TYPES}
BY_NAME = {kind.name: kind for kind in BY_NUMBER.values()}

WRITABLE = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
"""Types that tensors can be converted to."""

_UNREADABLE = ("Q8_1", "Q8_K", "Q1_0")
READABLE = tuple(name for name in BY_NAME if name not in _UNREADABLE)
"""Types whose values can be told: the plain ones, and those that the gguf library dequantizes."""

FILE_TYPES = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "BF16": 32,
}
"""Type of most tensors -> `general.file_type`."""

# number -> (name, struct's letter); texts and arrays have no fixed size
VALUE_TYPES = {
    0: ("uint8", "B"),
    1: ("int8", "b"),
    2: ("uint16", "H"),
    3: ("int16", "h"),
    4: ("uint32", "I"),
    5: ("int32", "i"),
    6: ("float32", "f"),
    7: ("bool", "B"),
    8: ("string", ""),
    9: ("array", ""),
    10: ("uint64", "Q"),
    11: ("int64", "q"),
    12: ("float64", "d"),
}
VALUE_NUMBERS = {name: number for number, (name, _) in VALUE_TYPES.items()}
