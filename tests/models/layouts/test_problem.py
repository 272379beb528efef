"""Why a linear cannot be stored: one question, for all who ask it."""

from __future__ import annotations

import pytest

from tfcli.models.layouts.ggml import GGMLFormat
from tfcli.models.layouts.gguf import GGUF
from tfcli.models.layouts.layout import Storage
from tfcli.models.layouts.registry import get_layout
from tfcli.models.layouts.values import AffineFormat, Format


@pytest.mark.parametrize(
    ("layout", "form", "sizes", "problem"),
    [
        (get_layout("gptq"), AffineFormat(4, 32), (64, 64), None),
        (get_layout("gptq"), AffineFormat(5, 32), (64, 64), "it has 2, 3, 4 and 8 bits, not 5"),
        (get_layout("gptq"), AffineFormat(4, 64), (96, 64), "not a multiple of group_size 64"),
        (get_layout("gptq"), AffineFormat(4, 32), (64, 40), "has 40 outputs, and only multiples"),
        (GGUF, GGMLFormat.of("Q4_K"), (256, 8), None),
        (GGUF, GGMLFormat.of("Q4_K"), (64, 8), "do not fill Q4_K's blocks of 256"),
        (GGUF, AffineFormat(4, 32), (64, 64), "ggml's block types"),
    ],
    ids=str,
)
def test_the_layout_the_groups_and_the_packing_are_asked(
    layout: type[Storage], form: Format, sizes: tuple[int, int], problem: str | None
) -> None:
    found = layout.problem(form, *sizes)
    assert found == problem if problem is None else problem in (found or "")
