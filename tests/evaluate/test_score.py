"""Scores against a direct computation, one token at a time."""

import pytest
import torch

from tests.conftest import make_tiny_llama
from tfcli.checkpoints.folder import load_model
from tfcli.errors import WorkError
from tfcli.evaluate.score import Distance, Scores, score
from tfcli.evaluate.windows import Plan, plan_windows

DOCUMENTS = [
    torch.randint(0, 320, (n,), generator=torch.Generator().manual_seed(n)).tolist()
    for n in (1, 2, 23, 40, 23)
]


@pytest.fixture(scope="module")
def model(tiny_llama):
    return load_model(tiny_llama)


@pytest.fixture(scope="module")
def other(tmp_path_factory, tiny_tokenizer):
    return load_model(make_tiny_llama(tmp_path_factory.mktemp("m") / "o", tiny_tokenizer, seed=1))


@torch.no_grad()
def direct(model, window, stride):
    """Log distributions and targets of every scored token, each from its own context."""
    for ids in DOCUMENTS:
        done = 1
        for start in range(0, len(ids), stride):
            for token in range(done, min(start + window, len(ids))):
                logits = model(input_ids=torch.tensor([ids[start:token]])).logits[0, -1]
                yield logits.double().log_softmax(-1), ids[token]
            done = max(done, min(start + window, len(ids)))


@pytest.mark.parametrize(("window", "stride"), [(8, 3), (16, 8), (100, 50), (2, 1)])
def test_losses_are_those_of_a_brute_force_computation(model, window, stride):
    wanted = torch.stack([-logp[token] for logp, token in direct(model, window, stride)])
    windows = plan_windows([len(ids) for ids in DOCUMENTS], Plan(window, stride))
    found = score(model, DOCUMENTS, windows).loss
    assert len(found) == len(wanted) == sum(len(ids) - 1 for ids in DOCUMENTS)
    assert torch.allclose(found.sort().values, wanted.sort().values, atol=1e-4)


def test_divergence_is_that_of_a_brute_force_computation(model, other):
    windows = plan_windows([len(ids) for ids in DOCUMENTS], Plan(16, 8))
    found = score(model, DOCUMENTS, windows, reference=other)
    ours = torch.stack([logp for logp, _ in direct(model, 16, 8)])
    theirs = torch.stack([logp for logp, _ in direct(other, 16, 8)])
    wanted = (theirs.exp() * (theirs - ours)).sum(-1)
    assert torch.allclose(found.divergence.sort().values, wanted.sort().values, atol=1e-4)
    assert float(found.same_top.mean()) == pytest.approx(
        float((ours.argmax(-1) == theirs.argmax(-1)).double().mean())
    )
    assert torch.equal(found.loss, score(model, DOCUMENTS, windows).loss)
    assert torch.equal(found.reference_loss, score(other, DOCUMENTS, windows).loss)


def test_a_model_does_not_differ_from_itself(model):
    windows = plan_windows([len(ids) for ids in DOCUMENTS], Plan(16, 8))
    found = score(model, DOCUMENTS, windows, reference=model)
    assert float(found.divergence.abs().max()) == 0
    assert float(found.same_top.min()) == 1


def test_a_distance_is_ranks_of_the_divergence():
    divergence = torch.arange(1, 2001).double()[torch.randperm(2000)]
    same = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(500)
    scores = Scores(divergence, divergence, divergence, same)
    assert Distance.of(scores) == Distance(1000.5, 1000, 1980, 1998, 0.75)
    with pytest.raises(ValueError, match="no reference"):
        Distance.of(Scores(divergence))


def test_the_batch_size_does_not_move_scores(model):
    windows = plan_windows([len(ids) for ids in DOCUMENTS], Plan(8, 4))
    one, many = (score(model, DOCUMENTS, windows, batch_size=size).loss for size in (1, 16))
    assert torch.allclose(one.sort().values, many.sort().values, atol=1e-5)


def test_scores_do_not_depend_on_how_logits_are_cut(model, monkeypatch):
    windows = plan_windows([len(ids) for ids in DOCUMENTS], Plan(16, 8))
    whole = score(model, DOCUMENTS, windows)
    monkeypatch.setattr("tfcli.evaluate.score._CHUNK", 3 * 320)
    cut = score(model, DOCUMENTS, windows)
    assert torch.allclose(cut.loss, whole.loss, atol=1e-6)


def test_no_more_logits_are_made_at_a_time_than_are_held(model, monkeypatch):
    made = []
    real = model.logits_of
    monkeypatch.setattr(model, "logits_of", lambda states: made.append(len(states)) or real(states))
    monkeypatch.setattr("tfcli.evaluate.score._CHUNK", 3 * 320)
    windows = plan_windows([len(ids) for ids in DOCUMENTS], Plan(16, 8))
    score(model, DOCUMENTS, windows)
    assert max(made) == 3
    assert sum(made) == sum(len(ids) - 1 for ids in DOCUMENTS)


def test_progress_counts_every_scored_token(model):
    counted = []
    windows = plan_windows([len(ids) for ids in DOCUMENTS], Plan(16, 8))
    score(model, DOCUMENTS, windows, advance=counted.append)
    assert sum(counted) == sum(len(ids) - 1 for ids in DOCUMENTS)


def test_predictions_that_are_not_finite_are_an_error(tiny_llama):
    broken = load_model(tiny_llama, dtype=torch.float64).float()
    broken.model.norm.weight.data[3] = float("nan")
    with pytest.raises(WorkError, match="not finite"):
        score(broken, DOCUMENTS, plan_windows([len(ids) for ids in DOCUMENTS], Plan(8, 4)))
