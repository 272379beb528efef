"""Training on a data set of the hub."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import COMMIT, serving
from tests.train.test_streams import content, interrupted
from tfcli.commands.app import run as run_command
from tfcli.errors import WorkError
from tfcli.recipe.job import Job
from tfcli.train.run import run


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


@pytest.fixture
def shards(tmp_path, texts):
    """A data set of four shards, of two kinds, and a split that is validated on."""
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    lines = (texts / "train.jsonl").read_text().splitlines()
    size = len(lines) // 4
    for number in range(4):
        part = lines[number * size : (number + 1) * size]
        path = folder / "data" / f"train-{number}-of-4"
        if number % 2:
            path.with_suffix(".jsonl").write_text("\n".join(part))
        else:
            table = pa.Table.from_pylist(list(map(json.loads, part)))
            pq.write_table(table, path.with_suffix(".parquet"), row_group_size=5)
    held = (texts / "validation.jsonl").read_text()
    (folder / "data" / "validation-0-of-1.jsonl").write_text(held)
    return folder


def test_a_stream_fetches_what_it_reads_and_equals_that_of_a_folder(
    shards, tmp_path, make_spec, monkeypatch
):
    """Interrupted and gone on with, from shards in an order of the seed."""

    def spec(data, **changes):
        both = {"data": data, "validation": data, "stream": True, "stream_buffer": 4}
        return make_spec(**{**both, "checkpoint_every": 1, **changes})

    folders = [tmp_path / name for name in ("here", "short", "hub")]
    for folder in folders:
        folder.mkdir()
    here, short, hub_run = folders
    run(spec(str(shards), max_steps=9), Job(folder=here))
    with serving(shards, tmp_path, monkeypatch) as hub:
        run(spec("org/any", max_steps=1), Job(folder=short))
        few = {name for name in hub.asked if "train" in name}
        assert len(few) == 2, "the first one tells the form, and another one is read first"
        interrupted(spec("org/any", max_steps=9), hub_run, 4)
        run(spec("org/any", max_steps=9), Job(folder=hub_run))
        assert max(hub.asked.values()) == 1, "nothing is fetched twice"
        assert len({name for name in hub.asked if "train" in name}) > 2
    assert content(hub_run) == content(here)


def test_a_shard_of_another_size_is_refused(shards, tmp_path, make_spec, monkeypatch):
    monkeypatch.setattr(
        "tfcli.data.hub_data.HubData.sizes",
        lambda self: dict.fromkeys(self.located.choice.files, 3),
    )
    with serving(shards, tmp_path, monkeypatch), pytest.raises(WorkError, match="the hub says 3"):
        run(make_spec(data="org/any", stream=True, max_steps=1), Job(folder=tmp_path))
