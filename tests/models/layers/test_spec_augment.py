"""What is hidden in training: as much as transformers hides, and within the audio."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from tfcli.models.errors import ModelError
from tfcli.models.layers.spec_augment import hidden_spans


@pytest.mark.parametrize(("share", "length", "least"), [(0.3, 4, 1), (0.05, 10, 2), (0.9, 3, 0)])
def test_as_much_is_hidden_as_in_transformers(share, length, least):
    torch.manual_seed(0)
    np.random.seed(0)
    lengths = torch.tensor([80, 57])
    mask = torch.arange(80) < lengths[:, None]
    options = {"share": share, "length": length, "least": least}
    ours = torch.stack([hidden_spans(lengths, 80, **options) for _ in range(400)]).float()
    theirs = np.stack(
        [
            _compute_mask_indices((2, 80), share, length, mask.long(), min_masks=least)
            for _ in range(400)
        ]
    ).astype("f4")
    for row in range(2):
        found, expected = ours[:, row].sum(-1).mean().item(), theirs[:, row].sum(-1).mean()
        assert found == pytest.approx(expected, rel=0.05)
    assert not ours[:, 1, 57:].any()
    assert ours[:, 0].any(0).all()


def test_a_row_that_is_shorter_than_a_span_is_left_whole():
    hidden = hidden_spans(torch.tensor([20, 3]), 20, share=0.5, length=5, least=1)
    assert hidden[0].any() and not hidden[1].any()
    with pytest.raises(ModelError, match="spans of 30 places are to be hidden, but there are 20"):
        hidden_spans(torch.tensor([20]), 20, share=0.5, length=30, least=1)
