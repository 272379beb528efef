"""Texts of a run that goes on."""

from __future__ import annotations

import json

from tfcli.console import Console
from tfcli.train.callbacks.samples import Samples
from tfcli.train.checkpoint import Progress
from tfcli.train.tracking_spec import SamplesSection


def test_what_is_made_again_is_taken_back(tmp_path):
    """A checkpoint of a step whose validation was cut short comes before the step's texts."""
    file = tmp_path / "samples.jsonl"
    lines = [json.dumps({"step": step, "prompt": "a", "text": "b"}) + "\n" for step in (1, 2, 3)]
    section = SamplesSection(prompts=["a"])
    for unfinished, kept in ((None, 2), ({"step": 2}, 1)):
        file.write_text("".join(lines))
        samples = Samples(section, None, None, "float32", file, Console.silent())
        samples.begin(Progress(step=2, unfinished=unfinished))
        assert file.read_text() == "".join(lines[:kept])
