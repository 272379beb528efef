"""Standard errors against their textbook forms, and against draws."""

import math
import random
import statistics

import pytest

from tfcli.evaluate.uncertainty import drawn_measure, exponential, mean_error, mean_measure

VALUES = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]


def test_of_single_samples_it_is_the_deviation_over_the_root_of_n():
    mean, error = mean_error(VALUES)
    assert mean == pytest.approx(2 / 3)
    assert error == pytest.approx(statistics.stdev(VALUES) / math.sqrt(len(VALUES)))


def test_samples_that_repeat_one_another_are_no_more_certain_than_one_of_them():
    _, once = mean_error(VALUES)
    repeated = [value for value in VALUES for _ in range(5)]
    _, naive = mean_error(repeated)
    _, clustered = mean_error(repeated, [n for n in range(len(VALUES)) for _ in range(5)])
    assert clustered == pytest.approx(once)
    assert naive < clustered / 2


def test_weights_make_it_a_ratio_of_sums():
    sums, weights = [2.0, 9.0, 4.0], [1, 3, 2]
    mean, error = mean_error(sums, weights=weights)
    off = [s - w * 2.5 for s, w in zip(sums, weights, strict=True)]
    assert mean == 2.5
    assert error == pytest.approx(math.sqrt(1.5 * sum(each**2 for each in off)) / 6)


def test_one_cluster_says_nothing_of_certainty():
    found = mean_measure("acc", VALUES, unit="share", higher_is_better=True, clusters=["a"] * 6)
    assert (found.n, found.standard_error, found.interval) == (6, None, None)


def test_an_interval_holds_the_truth_in_95_of_100_draws():
    chance, inside = random.Random(0), 0
    for _ in range(400):
        drawn = [float(chance.random() < 0.3) for _ in range(200)]
        found = mean_measure("acc", drawn, unit="share", higher_is_better=True)
        low, high = found.interval
        inside += low <= 0.3 <= high
    assert 370 <= inside <= 394


def test_a_perplexity_has_the_interval_of_its_loss():
    mean = mean_measure("loss", [1.0, 2.0, 4.0], unit="nats/token", higher_is_better=False)
    found = exponential("perplexity", mean, "")
    assert found.value == pytest.approx(math.exp(mean.value))
    assert found.interval == pytest.approx(tuple(map(math.exp, mean.interval)))
    assert found.standard_error == pytest.approx(found.value * mean.standard_error)
    huge = mean_measure("loss", [1e4, 2e4], unit="nats/token", higher_is_better=False)
    assert exponential("perplexity", huge, "").value == math.inf


def test_a_bootstrap_of_a_mean_is_about_its_standard_error():
    values = [float(n % 7) for n in range(80)]

    def mean(indices):
        return sum(values[index] for index in indices) / len(indices)

    found = drawn_measure("m", mean, 80, unit="", higher_is_better=True)
    assert found.standard_error == pytest.approx(mean_error(values)[1], rel=0.2)
    assert found == drawn_measure("m", mean, 80, unit="", higher_is_better=True)
    low, high = found.interval
    assert low < found.value < high
