"""Keys that several commands have: one spelling, one check and one text each."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tfcli.recipe.marks import Placeholder, Spellings
from tfcli.recipe.spec import Word
from tfcli.units import parse_bytes

PYTHON_DOCS = Word("python-docs", "pydoc_data.topics")
"""Python's language reference, which every Python carries."""
DRAWINGS = Word("drawings", "tfcli.data.drawings")
"""Small drawings of shapes, which are made by this module."""

FLOAT_SPELLINGS = {
    "fp32": "float32",
    "f32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
    "f16": "float16",
}
"""Other spellings of a floating-point type -> the one that specs, help and results show."""
FLOATS = Spellings(FLOAT_SPELLINGS)

StoredDtype = Annotated[Literal["float32", "bfloat16", "float16"] | None, FLOATS]
"""The type that weights are written in; None keeps what they have."""

ComputeDtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    FLOATS,
    Field(description="The type of the weights in memory; auto keeps the checkpoint's."),
]
"""The type that a model is loaded in."""

LoadIn = Annotated[
    Literal["8bit", "4bit", "3bit", "2bit", "nf4", "fp4", "int8"] | None,
    Field(
        description="Quantize the linear layers of a dense checkpoint while it is loaded, one "
        "weight at a time, so that the dense model is never in memory: 8bit, 4bit, 3bit and 2bit "
        "round to nearest in groups of 32; nf4, fp4 and int8 are bitsandbytes'."
    ),
]
"""Words of `tfcli.quantize.load_in`; None loads what is stored."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?", re.ASCII)


def _is_device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise ValueError(f"{value!r} is no device: choose auto, cpu, cuda, cuda:N or mps")
    return value


Device = Annotated[
    str,
    AfterValidator(_is_device),
    Placeholder("auto|cpu|cuda[:N]|mps"),
    Field(description="Where to run; auto is cuda where there is one, else cpu."),
]
"""What `pick_device` takes."""

Attention = Annotated[
    Literal["sdpa", "eager", "flex", "flash"],
    Field(
        description="How attention is computed: torch's fused kernels (sdpa), step by step "
        "(eager), compiled (flex) or by flash-attn (flash)."
    ),
]

LARGEST_FILE = "Largest weight file: 5GB, 500MB, 2GiB or a number of bytes."


def _is_size(value: int | str) -> int | str:
    parse_bytes(value)
    return value


Size = Annotated[int | str, AfterValidator(_is_size), Placeholder("SIZE")]
"""A size that `parse_bytes` takes."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A number that random generators take."""

TextField = Annotated[
    str,
    Field(
        min_length=1,
        description="The key or column that holds the text in .jsonl, .csv and .parquet files.",
    ),
]
