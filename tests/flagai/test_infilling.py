from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
import torch

from tests.flagai.folders import make
from tfcli.errors import UsageError
from tfcli.flagai import models
from tfcli.flagai.blanks import BlankTokens
from tfcli.flagai.infilling import OBJECTIVES, BlankInfilling

CLS, EOS, MASK, SMASK, GMASK, SOP, EOP, STOP = range(1, 9)
TOKENS = BlankTokens(
    MASK, SMASK, GMASK, SOP, EOP, fixed=frozenset(range(1, 8)), ends=frozenset({STOP})
)


def text(length, seed=0):
    """[CLS], words with a full stop now and then, [eos]; no word twice, so places are known."""
    rng = random.Random(seed)
    words = list(range(100, 100 + length))
    return [CLS, *(STOP if rng.random() < 0.12 else word for word in words), EOS]


def spans_of(out):
    """Part B as it was: (position of the mask, words, targets, block positions) of each span."""
    found = []
    for at in range(out.sep, len(out.ids)):
        if out.ids[at] == SOP:
            found.append((out.positions[at], [], [], []))
        place, words, targets, blocks = found[-1]
        assert out.positions[at] == place
        words.append(out.ids[at])
        targets.append(out.targets[at])
        blocks.append(out.block_positions[at])
    return found


@pytest.mark.parametrize("index", range(120))
def test_every_word_is_in_part_a_or_is_a_target_once(index):
    ids = text(20 + index)
    out = BlankInfilling(TOKENS, seed=5).example(ids, index)
    spans = spans_of(out)
    whole = []
    content = {place: targets for place, _, targets, _ in spans}
    assert len(content) == len(spans)
    for place, token in enumerate(out.ids[: out.sep]):
        whole += content.pop(place)[:-1] if token in TOKENS.masks else [token]
    assert whole == ids  # put back together, it is the text
    assert content == {}


@pytest.mark.parametrize("index", range(40))
def test_words_are_predicted_from_what_is_before_them(index):
    out = BlankInfilling(TOKENS, seed=6).example(text(60), index)
    for place, words, targets, blocks in spans_of(out):
        assert out.ids[place] == TOKENS.masks[OBJECTIVES.index(out.objective)]
        assert words[0] == SOP and targets[-1] == EOP
        assert words[1:] == targets[:-1]
        assert blocks == list(range(1, len(words) + 1))
    assert out.positions[: out.sep] == list(range(out.sep))
    assert out.block_positions[: out.sep] == [0] * out.sep
    assert out.targets[: out.sep] == [0] * out.sep
    assert not {CLS, EOS} & set(out.targets)


def test_the_model_cannot_see_what_it_is_to_predict():
    model = make(models.GLMForSeq2Seq, vocab_size=200)
    collator = BlankInfilling(TOKENS, seed=1)
    for index in range(6):
        batch = collator([{"input_ids": text(24), "index": index}])
        sep, ids = int(batch["attention_mask"]), batch["input_ids"]
        with torch.no_grad():
            before = model(**batch)["logits"]
            for at in range(sep + 1, ids.shape[1]):
                changed = {**batch, "input_ids": ids.clone()}
                changed["input_ids"][0, at] = 150
                after = model(**changed)["logits"]
                assert torch.equal(after[0, :at], before[0, :at])


def test_the_objectives_are_mixed_as_asked():
    found = Counter(BlankInfilling(TOKENS).example(text(30), i).objective for i in range(4000))
    for objective, weight in zip(OBJECTIVES, (0.4, 0.3, 0.3), strict=True):
        assert found[objective] / 4000 == pytest.approx(weight, abs=0.03)


def only(objective, **keys):
    weights = tuple(float(objective == other) for other in OBJECTIVES)
    return BlankInfilling(TOKENS, weights=weights, **keys)


def test_short_spans_cover_the_ratio_and_stay_apart():
    lengths = []
    for index in range(300):
        out = only("span").example(text(200), index)
        masks = [at for at in range(out.sep) if out.ids[at] == MASK]
        assert all(later - earlier > 1 for earlier, later in itertools.pairwise(masks))
        spans = [targets[:-1] for _, _, targets, _ in spans_of(out)]
        assert sum(map(len, spans)) == 30  # 15% of 200
        lengths += map(len, spans)
    # Poisson's mean of 3 without its 0, a little less since the last span is cut to fit.
    assert sum(lengths) / len(lengths) == pytest.approx(3 / (1 - 2.718281828**-3), abs=0.25)


def test_spans_are_shuffled_in_part_b():
    orders = set()
    for index in range(50):
        places = [place for place, *_ in spans_of(only("span").example(text(60), index))]
        orders.add(places == sorted(places))
    assert orders == {True, False}


def test_sentences_are_cut_whole():
    for index in range(100):
        ids = text(80)
        out = only("sentence").example(ids, index)
        total = 0
        for _, _, targets, _ in spans_of(out):
            words = targets[:-1]
            total += len(words)
            assert STOP not in words[:-1]
            assert words[-1] == STOP or words[-1] == ids[-2]
        assert total >= int(0.15 * len(ids))


def test_generation_cuts_a_quarter_at_least_often_at_the_end():
    at_end = 0
    for index in range(400):
        out = only("generation").example(text(80), index)
        ((place, _, targets, _),) = spans_of(out)
        assert len(targets) - 1 >= 20
        at_end += out.ids[place + 1 : out.sep] == [EOS]
    assert 150 < at_end < 300
    for index in range(20):
        out = only("generation", infill=0.0).example(text(80), index)
        ((place, *_),) = spans_of(out)
        assert out.ids[place + 1 : out.sep] == [EOS]


def test_texts_packed_into_one_are_never_cut_across():
    ids = [*text(30), *text(25, seed=1), *text(3)]
    for index in range(150):
        out = BlankInfilling(TOKENS).example(ids, index)
        for _, _, targets, _ in spans_of(out):
            assert not {CLS, EOS} & set(targets)


def test_everything_follows_from_seed_and_index():
    examples = [{"input_ids": text(40 + i), "index": i} for i in range(8)]
    first = BlankInfilling(TOKENS, seed=3)(examples)
    second = BlankInfilling(TOKENS, seed=3)
    assert all(torch.equal(first[key], value) for key, value in second(examples).items())
    # Going on in the middle, alone, or in another order, an example is the same.
    for i in (5, 2):
        one = second.example(examples[i]["input_ids"], i)
        assert first["input_ids"][i, : len(one.ids)].tolist() == one.ids
    other = BlankInfilling(TOKENS, seed=4)(examples)
    assert other["input_ids"].shape != first["input_ids"].shape or not torch.equal(
        other["input_ids"], first["input_ids"]
    )
    assert len({tuple(second.example(text(40), index).ids) for index in range(8)}) > 4


@pytest.mark.parametrize("max_length", [8, 32, 100])
def test_no_example_is_longer_than_asked(max_length):
    collator = BlankInfilling(TOKENS, max_length=max_length)
    for index in range(100):
        out = collator.example(text(200), index)
        assert len(out.ids) <= max_length
        assert len(out.ids) == out.sep + sum(len(words) for _, words, *_ in spans_of(out))


def test_a_batch_is_filled_up_and_counts_part_b_alone():
    collator = BlankInfilling(TOKENS, seed=2, pad_id=99)
    batch = collator([{"input_ids": text(n), "index": n} for n in (12, 40)])
    length = batch["input_ids"].shape[1]
    assert batch["position_ids"].shape == (2, 2, length)
    one = collator.example(text(12), 12)
    used = len(one.ids)
    assert used < length
    assert batch["input_ids"][0].tolist() == [*one.ids, *[99] * (length - used)]
    mask = [0] * one.sep + [1] * (used - one.sep) + [0] * (length - used)
    assert batch["loss_mask"][0].tolist() == mask
    assert batch["attention_mask"][0] == one.sep
    model = make(models.GLMForSeq2Seq, vocab_size=200, max_sequence_length=80)
    with torch.no_grad():
        out = model(**batch)
        each = [model(**collator([{"input_ids": text(n), "index": n}])) for n in (12, 40)]
    torch.testing.assert_close(out["logits"][0, :used], each[0]["logits"][0], atol=1e-4, rtol=1e-4)
    parts = batch["loss_mask"].sum(1)
    expected = sum(part * one["loss"] for part, one in zip(parts, each, strict=True)) / parts.sum()
    torch.testing.assert_close(out["loss"], expected)


def test_training_on_it_learns():
    torch.manual_seed(0)
    model = make(models.GLMForSeq2Seq, vocab_size=140).train()
    collator = BlankInfilling(TOKENS, seed=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        batch = collator([{"input_ids": text(24), "index": 4 * step + i} for i in range(4)])
        loss = model(**batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize(
    "keys",
    [
        {"weights": (0.0, 0.0, 0.0)},
        {"weights": (1.0, -1.0, 1.0)},
        {"ratio": 1.5},
        {"mean_length": 0.0},
        {"max_length": 3},
    ],
)
def test_settings_that_cannot_be_are_refused(keys):
    with pytest.raises(UsageError, match=next(iter(keys)).split("_")[0]):
        BlankInfilling(TOKENS, **keys)


def test_texts_that_cannot_be_used_are_refused():
    collator = BlankInfilling(TOKENS)
    with pytest.raises(UsageError, match="no word that could be masked"):
        collator.example([CLS, EOS], 0)
    with pytest.raises(UsageError, match="needs its index"):
        collator([{"input_ids": text(9)}])
    one = collator.example([CLS, 50, EOS], 0)
    assert one.ids[one.sep :] == [SOP, 50]
