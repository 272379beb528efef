"""What the parity cases do not reach: rescaled layers, and decoding beside transformers."""

from __future__ import annotations

import pytest
import torch

from tests.models.cases.recurrent import CASES
from tests.models.parity import assert_close, inputs, reference, twin

PLAIN = next(case for case in CASES if case.name == "rwkv-plain")


def pair(**changes):
    case = type(PLAIN)(**{**vars(PLAIN), "settings": PLAIN.settings | changes})
    theirs = reference(case, "causal-lm")
    return theirs, twin(theirs, "causal-lm"), inputs(case, "causal-lm", rows=1)


@pytest.mark.parametrize("every", [1, 2])
def test_rescaled_layers(every):
    """Theirs change their weights at the first forward in eval mode; ours only the activations."""
    theirs, ours, batch = pair(rescale_every=every)
    wanted = {"output_hidden_states": True}
    with torch.no_grad():
        expected, actual = theirs(**batch, **wanted), ours(**batch, **wanted)
    assert_close(actual.logits, expected.logits)
    for own, other in zip(actual.hidden_states[1:-1], expected.hidden_states, strict=False):
        assert_close(own, other)


def test_decoding_a_row_equals_theirs():
    theirs, ours, batch = pair()
    cache, state = ours.make_cache(), None
    with torch.no_grad():
        for part in batch["input_ids"].split([9] + [1] * 8, dim=1):
            output = theirs(part, state=state, use_cache=True)
            state = output.state
            assert_close(ours(part, cache=cache).logits, output.logits)


def test_training_rescales_nothing():
    theirs, ours, batch = pair(rescale_every=1)
    with torch.no_grad():
        assert_close(ours.train()(**batch).logits, theirs.train()(**batch).logits)
