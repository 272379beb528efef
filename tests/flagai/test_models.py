"""What FlagAI's classes compute, said again by hand from the core's answers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.flagai.folders import ALL, make
from tfcli.errors import ModelError
from tfcli.flagai import models


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def words(rows=3, length=12, seed=0):
    return torch.randint(1, 61, (rows, length), generator=torch.Generator().manual_seed(seed))


def blanked(rows=3):
    row = [[0, 1, 2, 3, 4, 5, 6, 3, 3, 3, 3, 3], [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]]
    return torch.tensor([row] * rows)


SEP = torch.tensor([7, 5, 2])


def given(cls):
    """Arguments that fit a class."""
    if cls.kind == "glm":
        return {"input_ids": words(), "position_ids": blanked(), "attention_mask": SEP}
    if cls.kind == "t5":
        return {"input_ids": words(), "decoder_input_ids": words(seed=1)}
    return {"input_ids": words(), "segment_ids": torch.zeros(3, 12, dtype=torch.long)}


@pytest.mark.parametrize("cls", ALL)
def test_surplus_keywords_change_nothing(cls):
    model = make(cls)
    plain = model(**given(cls))
    more = model(**given(cls), mode="bert", prompt_pos=None, logit_bias=torch.ones(2), odd=1)
    assert plain.keys() == more.keys() >= {"logits", "hidden_states"}
    assert "loss" not in plain
    assert torch.equal(plain["logits"], more["logits"])


def cross_entropy(logits, targets):
    """By hand: minus the log of the right word's probability, at each place."""
    logs = logits - logits.exp().sum(-1, keepdim=True).log()
    return -logs.gather(-1, targets[..., None])[..., 0]


def test_sep_in_all_its_forms():
    model = make(models.GLMModel)
    ids, positions = words(), blanked()
    core = model.core
    whole = core(ids, position_ids=positions, prefix_lengths=7).logits
    for sep in (7, torch.tensor(7), torch.tensor([7]), torch.tensor([7, 7, 7]), SEP * 0 + 7):
        assert torch.equal(model(ids, positions, sep)["logits"], whole)
    each = core(ids, position_ids=positions, prefix_lengths=SEP).logits
    assert torch.equal(model(ids, positions, SEP)["logits"], each)
    assert torch.equal(model(ids, positions, SEP[:, None])["logits"], each)
    assert torch.equal(model(ids, positions)["logits"], core(ids, position_ids=positions).logits)
    seen = torch.ones(3, 1, 12, 12).tril()
    seen[:, :, :, :7] = 1
    torch.testing.assert_close(model(ids, positions, seen)["logits"], whole)
    with pytest.raises(ModelError, match="attention_mask has shape"):
        model(ids, positions, torch.ones(3, 12))


def test_glm_s_labels_are_not_shifted():
    model = make(models.GLMModel)
    out = model(**given(models.GLMModel), labels=words(seed=2))
    expected = cross_entropy(out["logits"], words(seed=2)).mean()
    torch.testing.assert_close(out["loss"], expected)


def test_memory_goes_on_where_a_text_was_left():
    model = make(models.GLMModel)
    ids, positions = words(), blanked()
    whole = model(ids, positions, 7)
    assert whole["hidden_states"] == ()
    first = model(ids[:, :7], positions[..., :7], 7, return_memory=True)
    assert len(first["hidden_states"]) == 3
    mems, parts = first["hidden_states"], [first["logits"]]
    for at in range(7, 12):
        part = slice(at, at + 1)
        out = model(
            input_ids=ids[:, part],
            position_ids=positions[..., part],
            attention_mask=torch.tensor([0]),
            mems=mems,
            return_memory=True,
        )
        mems = out["hidden_states"]
        assert mems[0].shape == (3, at + 1, 32)
        parts.append(out["logits"])
    torch.testing.assert_close(torch.cat(parts, 1), whole["logits"], atol=2e-5, rtol=1e-4)


def test_memory_carries_a_gradient_only_when_asked_to():
    model = make(models.GLMModel)
    with torch.enable_grad():
        for detach in (True, False):
            out = model(words(), blanked(), 7, return_memory=True, detach_memory=detach)
            assert all(state.requires_grad is not detach for state in out["hidden_states"])


def test_seq2seq_weighs_its_loss():
    model = make(models.GLMForSeq2Seq)
    targets = words(seed=3)
    targets[0, 4] = 0
    weights = torch.randint(0, 3, (3, 12), generator=torch.Generator().manual_seed(4)).float()
    out = model(**given(models.GLMForSeq2Seq), target_ids=targets, loss_mask=weights)
    each = cross_entropy(out["logits"], targets) * (targets != 0)
    torch.testing.assert_close(out["loss"], (each * weights).sum() / weights.sum())
    plain = model(**given(models.GLMForSeq2Seq))
    assert "loss" not in plain and torch.equal(plain["logits"], out["logits"])
    nothing = model(**given(models.GLMForSeq2Seq), target_ids=targets, loss_mask=weights * 0)
    assert nothing["loss"] == 0


def test_an_answer_of_several_words_is_as_likely_as_its_words():
    model = make(models.GLMForMultiTokenCloze)
    plain = make(models.GLMModel)
    ids = torch.stack((words(2), words(2, seed=1), words(2, seed=2)), 1)  # [2, 3 answers, s]
    positions = blanked(6).view(2, 3, 2, 12)
    sep = torch.tensor([[7, 5, 2], [3, 4, 5]])
    targets, mask = ids.roll(-1, -1), torch.zeros(2, 3, 12)
    mask[..., 8:11] = 1
    labels = torch.tensor([2, 0])
    out = model(ids, positions, sep, target_ids=targets, logit_mask=mask, labels=labels)
    for row in range(2):
        for answer in range(3):
            one = plain(ids[row, answer][None], positions[row, answer][None], sep[row, answer])
            logs = one["logits"][0].log_softmax(-1)
            expected = sum(logs[at, targets[row, answer, at]] for at in (8, 9, 10))
            torch.testing.assert_close(out["logits"][row, answer], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out["loss"], F.cross_entropy(out["logits"], labels))
    model.length_penalty = 1.0
    halved = model(ids, positions, sep, target_ids=targets, logit_mask=mask)
    torch.testing.assert_close(halved["logits"], out["logits"] / 3)


def test_an_answer_of_one_word_stands_where_part_a_ends():
    model = make(models.GLMForSingleTokenCloze)
    choices = torch.tensor([[5, 9], [7, 8], [1, 2]])
    labels = torch.tensor([0, 1, 1])
    out = model(**given(type(model)), target_ids=choices, labels=labels)
    scores = make(models.GLMModel)(**given(type(model)))["logits"]
    expected = torch.stack([scores[row, SEP[row], choices[row]] for row in range(3)])
    assert torch.equal(out["logits"], expected)
    torch.testing.assert_close(out["loss"], F.cross_entropy(expected, labels))


def test_glm_classifies_and_chooses():
    model = make(models.GLMForSequenceClassification)
    labels = torch.tensor([0, 2, 1])
    out = model(**given(type(model)), labels=labels)
    assert out["logits"].shape == (3, 3)
    torch.testing.assert_close(out["loss"], cross_entropy(out["logits"], labels).mean())
    one = make(models.GLMForSequenceClassification, class_num=1)
    ids = torch.stack((words(2), words(2, seed=1)), 1)
    positions = blanked(4).view(2, 2, 2, 12)
    chosen = one(ids, positions, torch.full((2, 2), 7), labels=torch.tensor([1, 0]))
    assert chosen["logits"].shape == (2, 2)
    alone = one(ids[0, 1][None], positions[0, 1][None], 7)["logits"]
    torch.testing.assert_close(chosen["logits"][0, 1], alone[0, 0])
    yes = one(words(), blanked(), 7, labels=torch.tensor([1, 0, 1]))
    chance = yes["logits"].sigmoid()
    expected = -(chance[0].log() + (1 - chance[1]).log() + chance[2].log()) / 3
    torch.testing.assert_close(yes["loss"], expected)
    with pytest.raises(ModelError, match="class_num=1"):
        model(ids, positions, torch.full((2, 2), 7))


def test_nothing_looks_at_bert_s_padding():
    for cls in (models.BertModel, models.BertForMaskLM, models.BertForSequenceLabeling):
        model = make(cls)
        ids = words()
        longer = F.pad(ids, (0, 4))
        types = torch.zeros_like(longer)
        out = model(longer, segment_ids=types)["logits"][:, :12]
        torch.testing.assert_close(out, model(ids)["logits"], atol=2e-5, rtol=1e-4)


def test_bert_s_segments_and_pooler():
    model = make(models.BertModel)
    ids, types = words(), (torch.arange(12)[None] > 5).long().expand(3, -1)
    out = model(ids, segment_ids=types)
    assert torch.equal(out["logits"], model(ids, token_type_ids=types)["logits"])
    assert not torch.allclose(out["logits"], model(ids)["logits"])
    dense = model.core.body.pooler.dense
    expected = torch.tanh(out["logits"][:, 0] @ dense.weight.T + dense.bias)
    torch.testing.assert_close(out["pooled"], expected)
    assert len(out["hidden_states"]) == 3
    assert torch.equal(out["hidden_states"][-1], out["logits"])


@pytest.mark.parametrize("dims", [3, 4])
def test_bert_takes_a_mask_for_each_token(dims):
    model = make(models.BertModel)
    ids = words()
    seen = torch.zeros(3, 12, 12)
    seen[:, :5, :5] = 1
    seen[:, 5:, 5:] = 1
    mask = seen if dims == 3 else seen[:, None]
    out = model(ids, attention_mask=mask)["logits"]
    torch.testing.assert_close(out[:, :5], model(ids[:, :5])["logits"], atol=2e-5, rtol=1e-4)
    with pytest.raises(ModelError, match=r"\[b, s\] only"):
        make(models.BertForSequenceLabeling).run(ids, None, mask)


def test_a_target_sees_its_source_and_what_came_before():
    model = make(models.BertForSeq2seq)
    ids = words()
    types = (torch.arange(12)[None] > 5).long().expand(3, -1)
    out = model(ids, segment_ids=types)["logits"]
    later, source = ids.clone(), ids.clone()
    later[:, 8:] = 1 + ids[:, 8:] % 59
    source[:, 3] = 1 + ids[:, 3] % 59
    changed = model(later, segment_ids=types)["logits"]
    torch.testing.assert_close(changed[:, :8], out[:, :8], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(changed[:, 8], out[:, 8], atol=1e-3)
    changed = model(source, segment_ids=types)["logits"]
    assert not torch.isclose(changed, out, atol=1e-4).all(-1).any()
    alone = make(models.BertForMaskLM)(ids[:, :6])["logits"]  # the source sees all of itself
    torch.testing.assert_close(out[:, :6], alone, atol=2e-5, rtol=1e-4)
    labels = ids[:, 1:].clone()
    labels[0, 7] = 0
    loss = model(ids, segment_ids=types, labels=labels)["loss"]
    each = cross_entropy(out[:, :-1], labels) * (labels != 0)
    torch.testing.assert_close(loss, each[:, 5:].sum() / 18)


def test_bert_s_other_losses():
    ids, labels = words(), words(seed=5) % 3
    ids[1, 9:] = 0
    out = make(models.BertForSequenceLabeling)(ids, labels=labels)
    each = cross_entropy(out["logits"], labels) * (ids > 0)
    torch.testing.assert_close(out["loss"], each.sum() / 33)
    out = make(models.BertForClsClassifier)(ids, labels=labels[:, 0])
    torch.testing.assert_close(out["loss"], cross_entropy(out["logits"], labels[:, 0]).mean())
    some = ids.masked_fill(torch.arange(12)[None] % 3 != 0, -100)
    out = make(models.BertForMaskLM)(ids, labels=some)
    picked = some != -100
    each = cross_entropy(out["logits"][picked], some[picked])
    torch.testing.assert_close(out["loss"], each.mean())


def test_gpt2_predicts_what_comes_next():
    model = make(models.GPT2Model, pad_token_id=0)
    ids = words()
    out = model(ids, labels=ids)
    torch.testing.assert_close(out["loss"], cross_entropy(out["logits"][:, :-1], ids[:, 1:]).mean())
    left = F.pad(ids, (3, 0))
    positions = torch.arange(15)[None].sub(3).clamp(min=0)
    moved = model(left, position_ids=positions)["logits"][:, 3:]
    torch.testing.assert_close(moved, out["logits"], atol=2e-5, rtol=1e-4)
    cache = model.core.make_cache()
    parts = [model(ids[:, :5], cache=cache), model(ids[:, 5:], cache=cache)]
    both = torch.cat([part["logits"] for part in parts], 1)
    torch.testing.assert_close(both, out["logits"], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("keys", [{}, {"tie_word_embeddings": True}])
def test_t5_s_decoder_sees_the_target_one_place_on(keys):
    model = make(models.T5Model, **keys)
    source, target = words(), words(seed=1)
    out = model(input_ids=source, labels=target)
    shifted = F.pad(target[:, :-1], (1, 0), value=0)
    same = model(input_ids=source, decoder_input_ids=shifted)
    assert torch.equal(out["logits"], same["logits"])
    torch.testing.assert_close(out["loss"], cross_entropy(out["logits"], target).mean())
    again = model(decoder_input_ids=shifted, encoder_states=out["encoder_last_hidden_state"])
    assert torch.equal(again["logits"], out["logits"])
    # FlagAI has a head of its own and scales nothing.
    head = model.core.lm_head.weight
    torch.testing.assert_close(out["logits"], out["hidden_states"][-1] @ head.T)
