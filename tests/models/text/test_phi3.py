"""What the parity cases of Phi-3 cannot show."""

from __future__ import annotations

import torch

from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config


def test_residual_dropout_acts_in_training_alone():
    sizes = {"vocab_size": 61, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = read_config({"model_type": "phi3", **sizes, "pad_token_id": None, "resid_pdrop": 0.5})
    model, ids = initialize(build(config)), torch.tensor([[4, 5, 6]])
    with torch.no_grad():
        evaluated = [model.eval()(ids).logits for _ in range(2)]
        trained = [model.train()(ids).logits for _ in range(2)]
    assert torch.equal(*evaluated)
    assert not torch.equal(*trained)
