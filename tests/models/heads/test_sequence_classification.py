from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.models.test_loading import IDS, checkpoint
from tfcli.models.errors import ModelError

ROWS = IDS.repeat(3, 1)
WHOLE = ("sequence-classification", "multiple-choice", "embedding")


def classifier(model_type="bert", **changes):
    model, _ = checkpoint(model_type, "sequence-classification", **changes)
    return model


@pytest.mark.parametrize(
    ("changes", "labels", "expected"),
    [
        ({"num_labels": 3}, torch.tensor([2, 0, 1]), F.cross_entropy),
        ({"num_labels": 3}, torch.rand(3, 3), F.binary_cross_entropy_with_logits),
        ({"num_labels": 1}, torch.tensor([0.5, -2.0, 1.0]), lambda x, y: F.mse_loss(x[:, 0], y)),
        ({"num_labels": 1}, torch.tensor([[0.5], [-2.0], [1.0]]), F.mse_loss),
        ({"num_labels": 2, "problem_type": "regression"}, torch.rand(3, 2), F.mse_loss),
        (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]]),
            lambda x, y: F.binary_cross_entropy_with_logits(x, y.float()),
        ),
    ],
    ids=["one-label", "labels-by-dtype", "number", "column", "two-numbers", "labels-by-config"],
)
def test_the_loss_follows_the_problem(changes, labels, expected):
    output = classifier(**changes)(ROWS, labels=labels)
    assert output.logits.shape == (3, changes["num_labels"])
    assert torch.allclose(output.loss, expected(output.logits, labels))


def test_a_decoder_looks_at_the_last_token_of_the_mask():
    model = classifier("llama", pad_token_id=0)
    alone = model(IDS).logits
    for ends in ((3, 0), (0, 3)):
        ids, mask = F.pad(IDS, ends, value=5), F.pad(torch.ones_like(IDS), ends)
        assert torch.allclose(model(ids, attention_mask=mask).logits, alone, atol=1e-6)


def test_without_a_mask_it_looks_at_the_last_token_that_is_no_padding():
    model = classifier("llama", pad_token_id=22)
    ids = F.pad(IDS, (0, 3), value=22)
    assert torch.allclose(model(ids).logits, model(IDS).logits, atol=1e-6)
    # Before the last token, the padding id is a word like any other.
    inside = IDS.clone()
    inside[0, 4] = 22
    assert torch.allclose(model(F.pad(inside, (0, 3), value=22)).logits, model(inside).logits)


def test_without_a_padding_id_it_looks_at_the_last_token():
    model = classifier("llama")
    ids = F.pad(IDS, (0, 1), value=5)
    assert not torch.allclose(model(ids).logits, model(IDS).logits)
    table = model.model.embed_tokens
    assert torch.equal(model(inputs_embeds=table(ids)).logits, model(ids).logits)


@pytest.mark.parametrize("task", WHOLE)
def test_packed_rows_are_refused(task):
    model, _ = checkpoint("bert", task)
    ids = IDS[:, None] if task == "multiple-choice" else IDS
    with pytest.raises(ModelError, match="takes no packed texts"):
        model(input_ids=ids, segment_ids=(ids > 3).long())
