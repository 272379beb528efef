"""The course of a training run, as it is drawn."""

import json

import pytest

from tfcli.report.curve import read_curve, smoothed, thinned


def write(folder, lines):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_validation_is_read_from_the_steps_that_have_it(tmp_path):
    write(
        tmp_path, [{"step": 1, "loss": 3.0, "lr": 0.1}, {"step": 2, "loss": 2.0, "val_loss": 2.5}]
    )
    curve = read_curve(tmp_path)
    assert curve.train == ((1, 3.0), (2, 2.0))
    assert curve.validation == ((2, 2.5),)
    assert curve.learning_rate == ((1, 0.1),) and curve.gradient_norm == ()


def test_a_run_that_logged_nothing_has_no_curve(tmp_path):
    assert read_curve(tmp_path) is None


def test_what_is_not_finite_is_not_drawn(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": 2}\n')
    assert read_curve(tmp_path).train == ((2, 2),)


def test_the_running_mean_does_not_lag():
    line = tuple((step, 100.0 - step) for step in range(200))
    assert [value for _, value in smoothed(line)] == pytest.approx([value for _, value in line])
    noisy = tuple((step, float(step % 2)) for step in range(400))
    middle = [value for _, value in smoothed(noisy)][50:350]
    assert all(0.35 < value < 0.65 for value in middle)


def test_thinning_keeps_spikes_and_order():
    points = tuple((step, 9.0 if step == 777 else 1.0 + step / 1e6) for step in range(5000))
    kept = thinned(points, 400)
    assert len(kept) <= 400 and (777, 9.0) in kept
    assert [step for step, _ in kept] == sorted({step for step, _ in kept})
