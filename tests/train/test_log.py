"""metrics.jsonl."""

from __future__ import annotations

import pytest

from tfcli.train.callbacks.metrics import MetricsFile, MetricsTable
from tfcli.train.log import read_metrics


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    log = MetricsFile(tmp_path / "metrics.jsonl")
    log.finished({"step": 1, "loss": 0.1, "val_loss": None}, [])
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.1}]
    log.end()


def test_going_on_drops_the_lines_after_the_step_and_the_one_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    log = MetricsFile(path, steps=2)
    log.finished({"step": 3, "again": 1.5}, [])
    log.end()
    assert read_metrics(path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": 1.5}]


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "3",
        '{"loss": 1}',
        '{"step": "2"}',
        '{"step": 2.5}',
        '{"step": 2, "loss": "low"}',
        '{"step": true}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_a_line_that_is_no_figures_ends_what_is_read(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n'.encode(errors="surrogateescape"))
    assert read_metrics(path) == [{"step": 1}]


def test_other_processes_write_nothing(tmp_path):
    log = MetricsFile(None)
    log.finished({"step": 1}, [])
    log.checkpoint()
    log.end()
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_a_column_a_figure(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.0, "val_loss": 2.25}\n')
    MetricsTable(path, tmp_path / "metrics.csv").end()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,loss,val_loss",
        "1,2.5,",
        "2,2.0,2.25",
    ]
