"""Encoders."""

from __future__ import annotations

from tests.models.case import ENCODER_TASKS, Case

_BERT = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
CASES = [
    Case("bert", "BertConfig", _BERT, ENCODER_TASKS, extra=("token_type_ids",)),
    Case(
        "bert-untied",
        "BertConfig",
        _BERT | {"tie_word_embeddings": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5},
        ("masked-lm",),
        extra=("token_type_ids",),
    ),
    Case("bert-regression", "BertConfig", _BERT | {"num_labels": 1}, ("sequence-classification",)),
    Case(
        "bert-multi-label",
        "BertConfig",
        _BERT | {"num_labels": 5, "problem_type": "multi_label_classification"},
        ("sequence-classification",),
    ),
]
