"""What trackers are told of a run, read back with their own readers."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterator

import pytest

from tfcli.errors import UsageError
from tfcli.recipe.job import Job
from tfcli.train.callbacks.trackers import require_trackers
from tfcli.train.log import read_metrics
from tfcli.train.run import run
from tfcli.train.tracking_spec import TrackingSection


def scalars(folder) -> dict[str, dict[int, float]]:
    """What TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        name: {each.step: each.value for each in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }


def history(folder) -> list[dict[str, float]]:
    """What wandb would send: the rows of the file of a run that is offline."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    rows = []
    for data in records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            named = [(i.key or ".".join(i.nested_key), i.value_json) for i in record.history.item]
            rows.append({name: json.loads(value) for name, value in named})
    return rows


def records(data: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB's form, which wandb writes after seven bytes of its own."""
    place, parts = 7, b""
    while place < len(data):
        left = 32768 - place % 32768
        if left < 7:  # no header fits before the next block
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""


def test_every_tracker_is_told_of_every_step(make_spec, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    spec = make_spec(
        validation=str(texts / "validation.jsonl"),
        validate_every=3,
        tracking={"trackers": ["tensorboard", "wandb", "csv"], "run": "mine"},
    )
    folder = tmp_path / "out"
    folder.mkdir()
    run(spec, Job(folder=folder))
    lines = read_metrics(folder / "metrics.jsonl")
    assert len(lines) == 6

    shown = scalars(folder / "tensorboard" / "mine")
    assert list(shown["train/loss"]) == [1, 2, 3, 4, 5, 6]
    assert shown["train/learning_rate"][6] == pytest.approx(lines[5]["lr"])
    assert shown["eval/loss"] == pytest.approx({3: lines[2]["val_loss"], 6: lines[5]["val_loss"]})

    sent = history(folder)
    assert [row["train/loss"] for row in sent] == [line["loss"] for line in lines]
    assert [row["_step"] for row in sent] == [1, 2, 3, 4, 5, 6]

    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [line["loss"] for line in lines]
    assert [row["val_loss"] != "" for row in rows] == [False, False, True, False, False, True]


def test_a_tracker_that_is_not_installed_is_named_before_the_work(monkeypatch):
    monkeypatch.setattr("tfcli.train.callbacks.trackers.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="trackio is not installed") as problem:
        require_trackers(TrackingSection(trackers=["csv", "trackio"]))
    assert problem.value.fix == "pip install trackio"
