from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.models.test_loading import checkpoint
from tfcli.models.errors import ModelError

IDS = torch.arange(4, 20).view(1, 2, 8)  # one question with two choices


def test_each_choice_gets_its_own_score():
    model, _ = checkpoint("bert", "multiple-choice")
    both = model(input_ids=IDS).logits
    swapped = model(input_ids=IDS.flip(1)).logits
    alone = [model(input_ids=IDS[:, choice : choice + 1]).logits for choice in (0, 1)]
    assert both.shape == (1, 2)
    assert torch.allclose(swapped, both.flip(1), atol=1e-6)
    assert torch.allclose(torch.cat(alone, 1), both, atol=1e-6)


def test_the_loss_prefers_the_right_choice():
    model, _ = checkpoint("bert", "multiple-choice")
    output = model(input_ids=IDS, labels=torch.tensor([1]))
    assert torch.allclose(output.loss, F.cross_entropy(output.logits, torch.tensor([1])))


def test_embeddings_in_place_of_ids():
    model, _ = checkpoint("bert", "multiple-choice")
    words = model.bert.embeddings.word_embeddings(IDS)
    assert torch.equal(model(inputs_embeds=words).logits, model(input_ids=IDS).logits)


def test_choices_need_a_dimension():
    model, _ = checkpoint("bert", "multiple-choice")
    with pytest.raises(
        ModelError, match=r"input_ids has shape \(2, 8\), expected \[b, choices, s\]"
    ):
        model(input_ids=IDS[0])
    with pytest.raises(ModelError, match="exactly one of input_ids and inputs_embeds"):
        model(attention_mask=torch.ones(1, 2, 8))
