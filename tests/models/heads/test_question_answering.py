from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.models.test_loading import IDS, checkpoint
from tfcli.models.losses import span_loss

LOGITS = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))


def test_both_ends_count_alike():
    model, _ = checkpoint("bert", "question-answering")
    output = model(IDS, labels=torch.tensor([[2, 6]]))
    assert output.logits.shape == (1, 8, 2)
    first, last = output.logits.unbind(-1)
    expected = F.cross_entropy(first, torch.tensor([2])) + F.cross_entropy(last, torch.tensor([6]))
    assert torch.allclose(output.loss, expected / 2)


def test_a_position_outside_of_the_input_counts_for_nothing():
    labels = torch.tensor([[1, 5], [4, 2], [-1, 4]])  # the input has positions 0 to 4
    first = F.cross_entropy(LOGITS[[0, 1], :, 0], torch.tensor([1, 4]))
    last = F.cross_entropy(LOGITS[[1, 2], :, 1], torch.tensor([2, 4]))
    assert torch.allclose(span_loss(LOGITS, labels), (first + last) / 2)


def test_spans_that_are_all_outside_give_no_loss_and_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    loss = span_loss(logits, torch.full((3, 2), 5))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
