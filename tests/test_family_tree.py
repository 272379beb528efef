"""The page of what a family is made of."""

from __future__ import annotations

from pathlib import Path

from tests.models.tiny import content
from tfcli.family_tree import family_tree
from tfcli.models.loading import build
from tfcli.models.registry import read_config

ROOT = Path(__file__).resolve().parent.parent


def page(model_type: str) -> list[str]:
    return family_tree(build(read_config(content(model_type))), ROOT).splitlines()


def test_blocks_that_are_alike_come_once_with_their_options_and_shapes():
    lines = [line.strip() for line in page("gemma3_text")]
    blocks = [line for line in lines if "DecoderBlock  " in line]
    assert [line.partition("  ")[0] for line in blocks] == ["0, 2", "1, 3"]
    windowed, whole = (line for line in lines if line.startswith("self_attn"))
    assert "window=6" in windowed and "window" not in whole
    assert "q_proj  Linear  weight [64, 32]" in lines


def test_it_says_where_each_class_is():
    lines = page("mixtral")
    assert "- `MixtralExpert`: models/text/mixtral.py" in lines
    assert any("`BalancedModel` (models/text/sparse.py)" in line for line in lines)
    for line in lines:
        if line.startswith("- `"):
            assert (ROOT / line.partition(": ")[2]).is_file(), line
