"""Hidden tokens: which, what stands for them, and losses beside transformers."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
import torch
from transformers import AutoModelForMaskedLM

from tests.train.conftest import sentences
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import (
    BERT,
    fed,
    made,
    parts,
    require_same,
    straight_and_resumed,
    theirs,
)
from tfcli.checkpoints.folder import load_model
from tfcli.train.log import read_metrics
from tfcli.train.masks import LONGEST_SPAN, Masker

ROBERTA = BERT | {"model_type": "roberta", "max_position_embeddings": 66, "pad_token_id": 1}
OBJECTIVE = "masked-lm"


def rows(seed: int = 0, documents: int = 4) -> list[dict]:
    return [{"text": text} for text in sentences(seed, documents)]


@pytest.mark.parametrize("config", [BERT, ROBERTA], ids=lambda config: config["model_type"])
def test_loss_and_gradients_are_those_of_transformers(spec_of, tmp_path, config):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows(), config=config))
    batch = objective.collate(examples.train.part(0))
    assert len(batch["labels"]) > 8 and (batch["attention_mask"] == 0).any()
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AutoModelForMaskedLM)
    loss = objective.loss(model, batch) / objective.count(batch)
    require_same(loss, model, reference(**batch).loss, reference)


def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows()))
    parts(objective, config, examples.train.part(0)[:8], tmp_path)


def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train):
    text = [{"text": "the cat sat on a mat"}] * 8
    result, folder = train(spec_of(OBJECTIVE, text, max_steps=80, optimizer={"lr": 1e-2}))
    assert result.train_loss < read_metrics(folder / "metrics.jsonl")[0]["loss"] / 3
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = torch.tensor([[2, 7, 9, 11, 3]])
    with torch.no_grad():
        ours = load_model(folder, task=None)(ids).logits
        torch.testing.assert_close(ours, model(ids).logits, rtol=1e-5, atol=1e-5)


def test_every_epoch_hides_anew_and_validation_always_the_same(spec_of, rows_file):
    held = rows_file(rows(1), "held.jsonl")

    def hidden(seed, epoch):
        spec = spec_of(OBJECTIVE, rows(), validation=held, seed=seed)
        objective, examples, _ = fed(spec)
        source = examples.train
        train = [source.make(epoch, number, row) for number, row in enumerate(source.items)]
        return (objective.collate(each)["labels"] for each in (train, examples.validation))

    first, validation = hidden(0, 0)
    again, same = hidden(0, 0)
    later, still = hidden(0, 1)
    other, changed = hidden(1, 0)
    assert torch.equal(first, again) and torch.equal(validation, same)
    assert torch.equal(validation, still) and not torch.equal(validation, changed)
    assert not torch.equal(first, later) and not torch.equal(first, other)


def hide(unit: str, words: list[list[int]], share: float = 0.15, rounds: int = 300):
    """The places that are chosen, and what becomes of them, over many seeds."""
    length = sum(map(len, words)) + 2
    masker, ids = Masker(unit, share, mask=1_000, vocabulary=1_000), list(range(length))
    for seed in range(rounds):
        found, places = masker.hide(ids, words, seed)
        yield places, [(place, found[place]) for place in range(length)]


def test_of_the_chosen_tokens_8_in_10_are_masked_and_1_in_10_is_another():
    words = [[place] for place in range(1, 101)]
    fates: Counter[str] = Counter()
    for places, found in hide("tokens", words):
        assert len(places) == 15 and not {0, 101}.intersection(places), "no special token"
        for place, now in found:
            if place not in places:
                assert now == place
            else:
                fates["masked" if now == 1_000 else "same" if now == place else "other"] += 1
    total = sum(fates.values())
    shares = [fates[name] / total for name in ("masked", "other", "same")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


@pytest.mark.parametrize("unit", ["words", "spans"])
def test_words_are_whole(unit):
    words = [[3 * n + 1, 3 * n + 2, 3 * n + 3] for n in range(30)]
    for places, _ in hide(unit, words):
        chosen = set(places)
        assert all(chosen.issuperset(word) or chosen.isdisjoint(word) for word in words)
        assert len(chosen) in (9, 12), "as near to 13.5 as whole words come"


def test_spans_are_several_words_on_end():
    words = [[place] for place in range(1, 201)]

    def neighbours(unit):
        found = [places for places, _ in hide(unit, words)]
        both = sum(b - a == 1 for places in found for a, b in itertools.pairwise(places))
        return both / sum(map(len, found))

    assert neighbours("spans") > 0.6 and neighbours("words") < 0.2
    chance = random.Random(0)
    lengths = [Masker._length(chance) for _ in range(4000)]
    assert max(lengths) == LONGEST_SPAN and sum(lengths) / 4000 == pytest.approx(4.46, abs=0.2)


def test_a_row_of_one_word_has_something_to_find():
    for unit in ("tokens", "words", "spans"):
        assert all(places == [1] for places, _ in hide(unit, [[1]], rounds=5))


@pytest.mark.parametrize("masking", [{"unit": "words"}, {"unit": "spans"}, {"share": 0.4}], ids=str)
def test_each_key_of_masking_changes_what_is_hidden(spec_of, masking):
    cut_up = [{"text": row["text"][::-1]} for row in rows()]  # words of several tokens

    def labels(**changes):
        objective, examples, _ = fed(spec_of(OBJECTIVE, cut_up, **changes))
        return objective.collate(examples.train.part(0))["labels"]

    assert not torch.equal(labels(), labels(masking=masking))


def test_a_resumed_run_hides_what_a_straight_one_hides(spec_of, tmp_path):
    spec = spec_of(OBJECTIVE, rows(), max_steps=10, checkpoint_every=4)
    straight, resumed = straight_and_resumed(spec, tmp_path)
    assert straight == resumed


def test_a_tokenizer_without_a_mask_token_is_refused(make_spec):
    spec = make_spec(objective=OBJECTIVE, config=BERT)
    problem = refused(lambda: fed(spec))
    assert "no mask_token" in problem.what and problem.where == "tokenizer"


def test_texts_without_tokens_and_rows_without_room_are_refused(spec_of):
    assert "no text" in refused(lambda: fed(spec_of(OBJECTIVE, [{"text": " "}]))).what
    problem = refused(lambda: fed(spec_of(OBJECTIVE, rows(), sequence_length=2)))
    assert problem.where == "sequence_length" and "2 special tokens" in problem.what
    wrong = [*rows(), {"body": "a"}]
    assert refused(lambda: fed(spec_of(OBJECTIVE, wrong))).where.endswith("rows.jsonl:5")
