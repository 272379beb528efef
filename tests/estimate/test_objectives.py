"""Every objective has a batch to count with."""

from __future__ import annotations

import pytest

from tfcli.estimate.training import Start, count
from tfcli.train.objectives.registry import OBJECTIVES

BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
T5 = {
    "model_type": "t5",
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
GLM = {
    "model_type": "glm",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
LEFT_TO_RIGHT = ("causal-lm", "kto", "distillation", "dpo", "ipo", "orpo", "simpo", "reward")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_its_step_is_counted(name, make_spec, tiny_llama):
    changes: dict = {"objective": name}
    if name == "seq2seq":
        changes["config"] = T5
    elif name == "glm":
        changes["config"] = GLM
    elif name not in LEFT_TO_RIGHT:
        changes["config"] = BERT
    if name == "distillation":
        changes["distillation"] = {"teacher": str(tiny_llama)}
    made = count(Start.of(make_spec(**changes)), processes=1, precision="float32", heap=None)
    assert made.lasting["gradients"] > 0
    assert made.parts["activations"] > 0
    compared = made.lasting["frozen"]
    if name in ("dpo", "ipo", "kto"):  # the model that training began with stays
        assert compared == made.lasting["weights"]
    else:
        assert (compared > 0) == (name == "distillation")
