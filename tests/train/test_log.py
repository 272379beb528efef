"""metrics.jsonl."""

from __future__ import annotations

import pytest

from tfcli.train.log import MetricsLog, read_metrics


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"step": 1, "loss": 0.1, "val_loss": None})
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.1}]
    log.close()


def test_going_on_drops_the_lines_after_the_step_and_the_one_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    log = MetricsLog(path, steps=2)
    log.write({"step": 3, "again": 1.5})
    log.close()
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
    log = MetricsLog(None)
    log.write({"step": 1})
    log.sync()
    log.close()
    assert list(tmp_path.iterdir()) == []
