"""In training, vision transformers leave out what transformers leaves out, draw by draw."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.models.media_cases.vit import CASES
from tests.models.parity import assert_close, pair_id
from tests.models.test_media_parity import batch, reference, twin

RATES = {
    "vit-plain": {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2},
    "deit-plain": {"hidden_dropout_prob": 0.3},
    "dinov2-plain": {"hidden_dropout_prob": 0.1, "drop_path_rate": 0.4},
}


@pytest.mark.parametrize("case", [case for case in CASES if case.name in RATES], ids=pair_id)
def test_training_draws_alike(case):
    case = replace(case, settings=case.settings | RATES[case.name])
    theirs = reference(case)
    ours, inputs = twin(case, theirs).train(), batch(case, rows=6)
    found = []
    for model in (theirs.train(), ours):
        torch.manual_seed(3)
        found.append(model(**inputs).last_hidden_state)
    assert_close(found[1], found[0])
    assert not torch.allclose(ours.eval()(**inputs).last_hidden_state, found[0], atol=1e-3)
