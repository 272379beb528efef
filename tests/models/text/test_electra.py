from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.heads.test_masked_lm import TINY
from tests.models.parity import assert_close, twin
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config

IDS = torch.arange(4, 12)[None]


def test_padding_and_ignored_labels_do_not_count():
    theirs = transformers.ElectraForPreTraining(transformers.ElectraConfig(**TINY)).eval()
    ours = twin(theirs, "pretraining")
    labels, mask = torch.tensor([[0, 1, 0, 0, 1, 1, 0, 1]]), torch.ones_like(IDS)
    mask[:, 6:] = 0
    with torch.no_grad():
        expected = theirs(IDS, attention_mask=mask, labels=labels).loss
        assert_close(ours(IDS, mask, labels=labels).loss, expected)
        assert_close(ours(IDS, mask, labels=labels, num_target_tokens=12).loss, expected / 2)
        ignored = labels.masked_fill(mask == 0, -100)
        assert_close(ours(IDS, mask, labels=ignored).loss, expected)


def test_a_discriminator_is_no_generator():
    theirs = transformers.ElectraForPreTraining(transformers.ElectraConfig(**TINY))
    model = build(read_config(theirs.config.to_dict()), "masked-lm")
    with pytest.raises(ModelError, match=r"lacks generator_predictions.*new masked-lm head"):
        load_weights(model, theirs.state_dict())


def test_another_summary_is_refused():
    with pytest.raises(ModelError, match="summary_type='mean' is not supported for electra"):
        read_config({"model_type": "electra", **TINY, "summary_type": "mean"})
