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
    assert any("`BalancedModel` (models/text/sparse.py)" in line for line in lines)
    for line in lines:
        if line.startswith("- `"):
            assert (ROOT / line.partition(": ")[2].partition(", lines ")[0]).is_file(), line


def test_lines_are_those_of_the_family_s_own_file():
    """Also of heads that are the family's own; files that are shared change without the page."""
    found = {}
    for line in page("glm"):
        if line.startswith("- `"):
            name, _, place = line.removeprefix("- `").partition("`: ")
            found[name], _, lines = place.partition(", lines ")
            assert bool(lines) == (found[name] == "models/text/glm.py"), line
            if lines:
                first, _, last = lines.partition(" to ")
                source = (ROOT / found[name]).read_text().splitlines()
                assert source[int(first) - 1].startswith(f"class {name}(")
                assert source[int(last) - 1].startswith("  ")  # its last line, and what follows
                assert not "".join(source[int(last) : int(last) + 2])
    assert found["Attend"] == "models/layers/attention.py"
    assert {"GLMModel", "GLMBlock", "GLMSequenceClassification"} <= found.keys()
