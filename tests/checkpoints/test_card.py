"""Model cards: front matter for the hub, a table of facts, no path of the machine."""

from __future__ import annotations

from pathlib import Path

import yaml

from tfcli.checkpoints.card import Origin, card_text


def front(card: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(card.split("---")[1])
    return found


def test_a_local_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "a|b"
    folder.mkdir()
    card = card_text(
        "converted",
        [Origin("source", str(folder), "hf")],
        {str(folder): "ab12"},
        {"x": "1", "y": ""},
    )
    assert front(card) == {"tags": ["tfcli"]}
    assert "# a|b, converted" in card
    assert (
        "| source | `a\\|b` (hf) |\n| its content | `ab12` |\n| x | 1 |\n| made by | tfcli" in card
    )
    assert "| y |" not in card and str(tmp_path) not in card


def test_models_of_the_hub(tmp_path: Path) -> None:
    one = card_text("merged", [Origin("base", "org/a@v1")], {"org/a@v1": "commit 5f"}, {})
    assert front(one)["base_model"] == "org/a"
    assert "| base | `org/a@v1` |\n| its content | `commit 5f` |" in one
    two = card_text("averaged", [Origin("a", "org/a"), Origin("b", "org/b")], {}, {})
    assert front(two)["base_model"] == ["org/a", "org/b"]
