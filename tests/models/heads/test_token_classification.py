from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.models.test_loading import IDS, checkpoint


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_tokens_without_a_label_do_not_count(model_type):
    model, _ = checkpoint(model_type, "token-classification", num_labels=3)
    labels = torch.tensor([[-100, 2, -100, 0, 1, -100, -100, -100]])
    output = model(IDS, labels=labels)
    assert output.logits.shape == (1, 8, 3)
    own = output.logits[0, [1, 3, 4]]
    assert torch.allclose(output.loss, F.cross_entropy(own, torch.tensor([2, 0, 1])))


def test_the_number_of_targets_divides_the_sum():
    model, _ = checkpoint("bert", "token-classification")
    labels = torch.tensor([[0, 1, 1, -100, -100, -100, -100, -100]])
    mean = model(IDS, labels=labels).loss
    assert torch.allclose(model(IDS, labels=labels, num_target_tokens=12).loss, mean * 3 / 12)
