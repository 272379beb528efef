from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.cases.encoders import LONGFORMER
from tests.models.parity import answer, assert_close, our_gradients, their_gradients, twin
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError

TASKS = {
    "sequence-classification": transformers.LongformerForSequenceClassification,
    "question-answering": transformers.LongformerForQuestionAnswering,
    "multiple-choice": transformers.LongformerForMultipleChoice,
}


def pair(task):
    torch.manual_seed(0)
    theirs = TASKS[task](transformers.LongformerConfig(**LONGFORMER)).eval()
    return theirs, twin(theirs, task)


def questions() -> torch.Tensor:
    """<s> question </s></s> text </s>, [2, 19]"""
    ids = torch.randint(4, 61, (2, 19))
    ids[:, 0] = 0
    ids[0, [5, 6, 18]] = ids[1, [9, 10, 18]] = 2
    return ids


@pytest.mark.parametrize("task", TASKS)
def test_heads_choose_as_theirs(task):
    theirs, ours = pair(task)
    ids = questions()
    if task == "multiple-choice":
        ids = torch.stack((ids, ids.flip(0)), 1)
        ids[:, :, 3] = torch.tensor([7, 8])
    with torch.no_grad():
        assert_close(ours(input_ids=ids).logits, answer(theirs(ids), task))


def test_padding_on_the_left_moves_the_first_token():
    _, ours = pair("sequence-classification")
    ids, mask = questions(), torch.ones(2, 19, dtype=torch.long)
    mask[0, :4] = 0
    with torch.no_grad():
        assert_close(ours(ids, mask).logits[:1], ours(ids[:1, 4:]).logits)


def test_a_question_without_an_end():
    _, ours = pair("question-answering")
    with pytest.raises(ModelError, match="end of the question is not known"):
        ours(torch.full((1, 8), 5))


def test_weights_of_chosen_tokens_are_those_that_they_see_by():
    """All that a token gives away and takes in can be seen in the weights."""
    theirs, ours = pair("question-answering")
    ids, chosen = questions(), torch.zeros(2, 19, dtype=torch.long)
    chosen[0, 3] = chosen[1, 4] = chosen[1, 5] = 1
    wanted = {"global_attention_mask": chosen, "output_attentions": True}
    theirs.set_attn_implementation("eager")
    with torch.no_grad():
        actual, expected = ours(ids, **wanted), theirs(ids, **wanted)
    for own, other in zip(actual.attentions, expected.global_attentions, strict=True):
        assert_close(own[0, :, 3], other[0, :, :19, 0])
        assert_close(own[1, :, 4:6], other[1, :, :19].transpose(1, 2))
        assert_close(own.sum(-1), torch.ones_like(own[..., 0]))


def test_led_chooses_tokens_of_the_source():
    from tests.models.cases.seq2seq import CASES

    case = next(case for case in CASES if case.name == "led")
    torch.manual_seed(0)
    theirs = transformers.LEDForConditionalGeneration(transformers.LEDConfig(**case.settings))
    ours = twin(theirs.eval(), "seq2seq-lm")
    ids, labels = torch.randint(4, 61, (2, 17)), torch.randint(4, 61, (2, 9))
    chosen = (torch.rand(ids.shape) < 0.3).long()
    given = {"input_ids": ids, "labels": labels, "global_attention_mask": chosen}
    actual, expected = ours(**given), theirs(**given)
    assert_close(actual.logits, expected.logits)
    expected.loss.backward()
    actual.loss.backward()
    own, other = our_gradients(ours), their_gradients(theirs)
    assert own.keys() == other.keys()
    largest = max(gradient.abs().max().item() for gradient in other.values())
    for name, gradient in other.items():
        assert (own[name] - gradient).abs().max() <= 2e-5 * largest, name


@pytest.mark.parametrize(
    ("window", "problem"),
    [(5, "must be even"), ([4], "1 entries for 2 layers"), ([4, 0], "from 2 on")],
)
def test_windows_that_are_refused(window, problem):
    with pytest.raises(ModelError, match=problem):
        config_from_recipe({"model_type": "longformer", **LONGFORMER, "attention_window": window})
