"""What the parity cases of the Gemmas cannot show."""

from __future__ import annotations

import pytest
import torch

from tests.models.parity import CASES, inputs, reference, twin
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

BY_NAME = {case.name: case for case in CASES}
TINY = {"vocab_size": 61, "hidden_size": 40, "num_attention_heads": 4, "num_hidden_layers": 2}
TINY |= {"num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48}


def test_embeddings_are_scaled_as_theirs_in_bfloat16():
    """The factor, sqrt(32), is rounded before it multiplies."""
    case = BY_NAME["gemma"]
    theirs, batch = reference(case, "causal-lm").bfloat16(), inputs(case, "causal-lm")
    ours = twin(theirs, "causal-lm")
    with torch.no_grad():
        expected = theirs(**batch, output_hidden_states=True).hidden_states[0]
        actual = ours(**batch, output_hidden_states=True).hidden_states[0]
    assert torch.equal(actual, expected)


def test_embeddings_of_the_caller_are_not_scaled():
    case = BY_NAME["gemma"]
    theirs = reference(case, "causal-lm")
    x = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(3))
    ours = twin(theirs, "causal-lm")
    with torch.no_grad():
        torch.testing.assert_close(ours(inputs_embeds=x).logits, theirs(inputs_embeds=x).logits)


@pytest.mark.parametrize("model_type", ["gemma", "gemma2", "gemma3_text"])
def test_new_norms_multiply_by_one(model_type):
    model = initialize(build(read_config({"model_type": model_type, **TINY})))
    norms = {name: p for name, p in model.named_parameters() if name.endswith("norm.weight")}
    assert len(norms) >= 5
    assert all(bool((weight == 0).all()) for weight in norms.values())


def test_attention_in_both_directions_takes_no_cache():
    config = read_config({"model_type": "gemma3_text", "use_bidirectional_attention": True, **TINY})
    model = initialize(build(config, "causal-lm"))
    with pytest.raises(ModelError, match="no use for a cache"):
        model.make_cache()
    others = initialize(build(read_config({"model_type": "gemma3_text", **TINY}), "causal-lm"))
    with pytest.raises(ModelError, match="no use for a cache"):
        model(torch.tensor([[4, 5, 6]]), cache=others.make_cache())
