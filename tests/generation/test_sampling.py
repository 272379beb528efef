"""Temperature, top-k and top-p on distributions that can be checked by hand."""

import pytest
import torch
import transformers

from tfcli.errors import WorkError
from tfcli.generation.filters import keep_top_p
from tfcli.generation.sampling import Draw, draw_from, greedy, sampler

LOGITS = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()[torch.tensor([2, 0, 3, 1])]  # .15 .5 .1 .25


def probabilities(**options):
    return Draw(**options).distribution(LOGITS).tolist()


def drawn(logits=LOGITS, seed=0, **options):
    """A draw of a single row."""
    return sampler(Draw(**options), [seed])(logits[None])


def test_temperature_1_is_the_model_itself():
    assert probabilities() == pytest.approx([0.15, 0.5, 0.1, 0.25])


def test_temperature_sharpens():
    squares = [0.15**2, 0.5**2, 0.1**2, 0.25**2]
    wanted = [value / sum(squares) for value in squares]
    assert probabilities(temperature=0.5) == pytest.approx(wanted)
    assert probabilities(temperature=1e-30) == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("k", "wanted"), [(1, [0, 1, 0, 0]), (2, [0, 2 / 3, 0, 1 / 3]), (9, [0.15, 0.5, 0.1, 0.25])]
)
def test_top_k_keeps_the_k_likeliest(k, wanted):
    assert probabilities(top_k=k) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("p", "wanted"),
    [
        (0.01, [0, 1, 0, 0]),
        (0.49, [0, 1, 0, 0]),
        (0.51, [0, 2 / 3, 0, 1 / 3]),
        (0.74, [0, 2 / 3, 0, 1 / 3]),
        (0.76, [1 / 6, 5 / 9, 0, 5 / 18]),
        (1.0, [0.15, 0.5, 0.1, 0.25]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_it(p, wanted):
    assert probabilities(top_p=p) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("off", [{"top_k": 0}, {"top_p": 1.0}, {"min_p": 0.0}], ids=str)
def test_a_filter_at_its_neutral_end_leaves_the_distribution_as_it_is(off):
    logits = torch.randn(30_000, generator=torch.Generator().manual_seed(0)) * 8
    assert torch.equal(Draw(**off).distribution(logits), Draw().distribution(logits))


def test_top_p_of_a_large_vocabulary_is_summed_exactly():
    logits = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    likely = logits.double().softmax(-1).sort(descending=True).values
    reached = int((likely.cumsum(-1) - likely < 0.9).sum())
    assert int((Draw(top_p=0.9).distribution(logits) > 0).sum()) == reached
    assert int((Draw(top_p=0.0).distribution(logits) > 0).sum()) == 1


def test_top_p_counts_what_top_k_left():
    assert probabilities(top_k=2, top_p=0.6) == pytest.approx([0, 1, 0, 0])


FILTERS = {
    "temperature": (0.7, transformers.TemperatureLogitsWarper),
    "top_k": (40, transformers.TopKLogitsWarper),
    "top_p": (0.8, transformers.TopPLogitsWarper),
    "min_p": (0.2, transformers.MinPLogitsWarper),
    "typical_p": (0.6, transformers.TypicalLogitsWarper),
    "epsilon_cutoff": (0.004, transformers.EpsilonLogitsWarper),
    "eta_cutoff": (0.02, transformers.EtaLogitsWarper),
}


@pytest.mark.parametrize("keys", [*((key,) for key in FILTERS), tuple(FILTERS)], ids="-".join)
def test_filters_are_those_of_transformers(keys):
    logits = torch.randn(3, 200, generator=torch.Generator().manual_seed(0))
    wanted = logits
    for key in keys:
        value, warper = FILTERS[key]
        wanted = warper(value)(None, wanted)
    found = Draw(**{key: FILTERS[key][0] for key in keys}).distribution(logits)
    assert torch.allclose(found, wanted.softmax(-1), atol=1e-6)
    kept = (found > 0).sum(-1)
    assert keys == ("temperature",) or (int(kept.min()) >= 1 and int(kept.max()) < 200)


def test_draws_follow_the_distribution():
    pick = sampler(Draw(), [0])
    counts = torch.bincount(torch.cat([pick(LOGITS[None]) for _ in range(4000)]), minlength=4)
    assert (counts / 4000).tolist() == pytest.approx([0.15, 0.5, 0.1, 0.25], abs=0.03)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 1 - 1e-9])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_top_p_of_a_vocabulary_is_that_of_all_tokens_in_order(p, spread):
    """Most of which are not put in order; in bfloat16 many are equally likely."""
    draw = torch.Generator().manual_seed(0)
    logits = (torch.randn(2, 5000, generator=draw) * spread).bfloat16().float()
    ordered, places = logits.sort(descending=True, stable=True)
    likely = ordered.double().softmax(-1)
    cut = likely.cumsum(-1) - likely >= p
    cut[:, 0] = False
    wanted = torch.empty_like(logits).scatter(1, places, ordered.masked_fill(cut, -torch.inf))
    assert torch.equal(keep_top_p(logits, p), wanted)


def test_a_draw_is_never_of_a_token_without_a_probability():
    likely = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    generator = torch.Generator().manual_seed(0)
    assert {draw_from(likely, generator) for _ in range(200)} == {1, 3}


def test_seeds_repeat_and_differ():
    def draws(seed):
        pick = sampler(Draw(), [seed])
        return [int(pick(LOGITS[None])) for _ in range(50)]

    assert draws(1) == draws(1) != draws(2)


def test_greedy_and_one_of_one_are_the_likeliest():
    assert greedy(LOGITS[None]) == drawn(temperature=5.0, top_k=1) == 1


@pytest.mark.parametrize("pick", [greedy, sampler(Draw(), [0, 0])])
def test_what_is_not_finite_is_an_error(pick):
    with pytest.raises(WorkError, match="not finite"):
        pick(torch.tensor([[0.0, 1.0], [0.0, float("nan")]]))


def test_what_is_excluded_does_not_come_and_something_must_be_left():
    left = torch.tensor([float("-inf"), 1.0, float("-inf")])
    assert greedy(left[None]) == drawn(left, temperature=1e300) == 1
    for pick in (greedy, sampler(Draw(), [0])):
        with pytest.raises(WorkError, match="no token is left"):
            pick(torch.full((1, 3), float("-inf")))


def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest():
    assert probabilities(min_p=0.4) == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert probabilities(min_p=1.0) == pytest.approx([0, 1, 0, 0])


@pytest.mark.parametrize("temperature", [5e-324, 1e-308, 1e-45, 1e-30])
def test_the_smallest_temperatures_take_the_likeliest(temperature):
    assert probabilities(temperature=temperature) == [0, 1, 0, 0]


def test_the_largest_temperatures_draw_evenly():
    assert probabilities(temperature=1.7e308) == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_every_seed_of_its_type_draws(seed):
    assert int(drawn(seed=seed)) in range(4)
