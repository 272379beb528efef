"""Training on a data set of the hub."""

from __future__ import annotations

import json

from tests.hub import COMMIT, serving
from tfcli.commands.app import run as run_command


def test_training_records_the_commit_of_its_data(tmp_path, texts, make_spec, monkeypatch):
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    for split in ("train", "validation"):
        content = (texts / f"{split}.jsonl").read_text()
        (folder / "data" / f"{split}-0-of-1.jsonl").write_text(content)
    spec = make_spec(data="org/any", validation="org/any", max_steps=1, output=str(tmp_path / "o"))
    (tmp_path / "r.json").write_text(
        json.dumps({"command": "train", **spec.model_dump(mode="json", exclude_defaults=True)})
    )
    with serving(folder, tmp_path, monkeypatch):
        assert run_command(["train", str(tmp_path / "r.json")]) == 0
        record = json.loads((tmp_path / "o" / "run.json").read_text())
        assert COMMIT in json.dumps(record["inputs"])
        assert "validation_loss" in json.dumps(record["result"])
        before = (tmp_path / "o" / "run.json").stat().st_mtime_ns
        assert run_command(["train", str(tmp_path / "r.json")]) == 0
        assert (tmp_path / "o" / "run.json").stat().st_mtime_ns == before, "it is up to date"
