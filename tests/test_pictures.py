"""The shipped recipes of pictures, end to end on a few steps."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from tfcli.commands.app import run
from tfcli.data.drawings import COLOURS, drawings


def finished(name, output, capsys, **sets) -> dict:
    given = [part for key, value in sets.items() for part in ("--set", f"steps.{key}={value}")]
    assert run(["run", name, "--output", str(output), *given, "--json"]) == 0
    out = capsys.readouterr().out
    return {step["step"]: step["result"] for step in json.loads(out)["steps"]}


def test_a_classifier_of_drawings(tmp_path, capsys):
    sets = {"train.max_steps": 2, "train.schedule.warmup_steps": 1}
    found = finished("look", tmp_path / "out", capsys, **sets)
    assert found["train"]["unit"] == "row" and found["train"]["validation_loss"] > 0
    config = json.loads((tmp_path / "out/train/config.json").read_text())
    assert sorted(config["label2id"]) == ["circle", "cross", "square", "triangle"]
    assert (tmp_path / "out/train/preprocessor_config.json").exists()


@pytest.mark.nightly
def test_a_model_is_composed_and_talks_about_drawings(tmp_path, capsys):
    sets = {"tower.max_steps": 1, "words.max_steps": 1, "words.schedule.warmup_steps": 0}
    sets |= {"train.max_steps": 2, "train.schedule.warmup_steps": 1, "train.batch_size": 4}
    found = finished("show", tmp_path / "out", capsys, **sets)
    assert found["train"]["steps"] == 2 and found["train"]["validation_loss"] > 0
    assert found["answer"]["text"] is not None


def test_drawings_are_what_they_say():
    all_of_them = drawings()
    assert len({each.text for each in all_of_them}) == len(all_of_them) == 432


def test_a_drawing_has_its_colour_in_its_place(tmp_path):
    from tfcli.data.drawings import draw

    for drawing in drawings()[:20]:
        draw(drawing, tmp_path)
        image = Image.open(tmp_path / drawing.path)
        x, y = 7 + 9 * drawing.column, 7 + 9 * drawing.row
        around = {image.getpixel((x + dx, y + dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
        assert COLOURS[drawing.colour] in around
