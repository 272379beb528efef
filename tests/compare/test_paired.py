"""The paired test: false alarms, the differences that it shows, clusters, and what it refuses."""

import numpy as np
import pytest
from scipy import stats

from tfcli.compare.paired import compare_pairs, holm

ROUNDS = 1000


def share_of_alarms(draw, *, rounds: int = ROUNDS) -> float:
    """How often a test says that there is a difference."""
    made = np.random.default_rng(0)
    return sum(compare_pairs(*draw(made)).p <= 0.05 for _ in range(rounds)) / rounds


def losses(made: np.random.Generator, count: int = 200, better: float = 0.0):
    """Two models' losses on texts that are hard or easy for both."""
    hard = made.gamma(2.0, size=count)
    a, b = hard + made.normal(0, 0.3, (2, count))
    return (b - better - a, None)


def answers(made: np.random.Generator, count: int = 400):
    """Two models' right and wrong answers to questions that are hard or easy for both."""
    chance = made.beta(2, 2, size=count)
    a, b = made.random((2, count)) < chance
    return (b.astype(float) - a, None)


def questions_about_texts(made: np.random.Generator, texts: int = 60, clustered: bool = True):
    """Several questions about each text, which a model understands or does not."""
    of = np.repeat(np.arange(texts), made.integers(3, 8, size=texts))
    difference = made.normal(size=texts)[of] + made.normal(size=len(of))
    return (difference, of if clustered else None)


@pytest.mark.parametrize(
    "draw", [losses, lambda made: losses(made, 12), answers, questions_about_texts]
)
def test_equal_models_raise_five_percent_false_alarms(draw) -> None:
    assert share_of_alarms(draw) == pytest.approx(0.05, abs=0.015)


def test_few_answers_that_turned_raise_no_more_than_that() -> None:
    rare = lambda made: (made.choice([-1, 0, 1], 300, p=[0.01, 0.98, 0.01]), None)  # noqa: E731
    assert share_of_alarms(rare) <= 0.065


def test_clusters_that_are_not_told_raise_many() -> None:
    assert share_of_alarms(lambda made: questions_about_texts(made, clustered=False)) > 0.2


@pytest.mark.parametrize("count", [15, 200])
def test_the_smallest_difference_is_shown_four_times_in_five(count: int) -> None:
    made = np.random.default_rng(7)
    said = [compare_pairs(*losses(made, count)).smallest for _ in range(400)]
    smallest = float(np.sqrt(np.mean(np.square(said))))
    power = share_of_alarms(lambda made: losses(made, count, smallest))
    assert power == pytest.approx(0.8, abs=0.05)


def test_many_units_have_the_t_test_of_scipy() -> None:
    differences, _ = losses(np.random.default_rng(3), 100, 0.05)
    found, expected = compare_pairs(differences), stats.ttest_1samp(differences, 0)
    assert found.test == "t" and found.units == found.samples == 100
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("count", [6, 11])
def test_few_units_have_the_test_of_all_signs(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.4, 1, count)
    expected = stats.permutation_test(
        (differences, np.zeros(count)), lambda a, b: np.mean(a - b), permutation_type="samples"
    )
    found = compare_pairs(differences)
    assert found.test == "signs"
    assert found.p == pytest.approx(expected.pvalue)


def test_answers_that_turned_have_mcnemars_exact_test() -> None:
    turned = [1.0] * 7 + [-1.0] + [0.0] * 500
    found = compare_pairs(turned)
    assert found.test == "signs"
    assert found.p == pytest.approx(stats.binomtest(1, 8).pvalue)


def test_five_samples_can_show_nothing_and_six_can() -> None:
    five = compare_pairs([1.0, 2.0, 1.5, 1.2, 3.0])
    assert five.smallest is None and five.samples_needed is None and five.p == 2 / 32
    six = compare_pairs([1.0, 2.0, 1.5, 1.2, 3.0, 0.7])
    assert six.smallest is not None and six.p == 2 / 64 <= 0.05


def test_the_samples_that_are_needed_would_show_what_was_found() -> None:
    differences, _ = losses(np.random.default_rng(1), 50, 0.08)
    found = compare_pairs(differences)
    assert found.samples_needed is not None and found.samples_needed > 50
    as_many = np.resize(differences, found.samples_needed)
    assert compare_pairs(as_many).smallest == pytest.approx(abs(found.difference), rel=0.05)


def test_a_sample_that_weighs_more_counts_as_often() -> None:
    differences = [0.5, -0.2, 0.1, 0.4, 0.3, 0.2]
    found = compare_pairs(differences, weights=[2, 1, 1, 1, 1, 1])
    twice = compare_pairs([*differences, 0.5], clusters=[0, 1, 2, 3, 4, 5, 0])
    for name in ("difference", "standard_error", "p", "low", "high", "units"):
        assert getattr(found, name) == pytest.approx(getattr(twice, name))


def test_samples_without_a_cluster_stand_alone() -> None:
    differences = [0.5, -0.2, 0.1, 0.4, 0.3, 0.2]
    assert compare_pairs(differences, [None] * 6) == compare_pairs(differences)
    assert compare_pairs(differences, ["a", "a", None, None, None, None]).units == 5


def test_equal_scores_are_no_difference() -> None:
    found = compare_pairs([0.0] * 40)
    assert (found.difference, found.p, found.standard_error, found.smallest) == (0, 1, 0, 0)
    assert found.samples_needed is None


def test_one_unit_has_no_spread() -> None:
    with pytest.raises(ValueError, match="two units"):
        compare_pairs([1.0, 2.0, 3.0], ["a", "a", "a"])


def test_holm_raises_the_smallest_chance_most() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
