"""Encoders."""

from __future__ import annotations

from typing import Any

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
_TYPES = ("token_type_ids",)
# Positions begin after the padding id: 34 rows are 32 positions.
_ROBERTA = _BERT | {"max_position_embeddings": 34, "pad_token_id": 1}
_DISTILBERT = {
    "vocab_size": 61,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
_ALBERT = _BERT | {"embedding_size": 24}
_LAYOUTLM = _BERT | {"max_2d_position_embeddings": 64}
_TAPAS = _BERT | {"type_vocab_sizes": [3, 3, 4, 2, 5, 5, 4]}
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

_DEBERTA = _BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
_DEBERTA_V2 = _DEBERTA | {
    "position_buckets": 4,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "conv_kernel_size": 3,
    "conv_act": "gelu",
    "attention_head_size": 8,
}


def _deberta(name: str, settings: dict[str, Any], *tasks: str, **more: Any) -> Case:
    config, tasks = "DebertaV2Config", tasks or ("masked-lm",)
    return Case(f"deberta-{name}", config, settings, tasks, attention="eager", **more)


CASES += [
    _deberta("v2", _DEBERTA_V2, *ENCODER_TASKS),
    _deberta(
        "v3",
        _DEBERTA_V2 | {"conv_kernel_size": 0, "position_buckets": 8, "legacy": False},
    ),
    _deberta(
        "own-table-projections",
        _DEBERTA | {"type_vocab_size": 2, "max_relative_positions": 6, "num_hidden_layers": 3},
        extra=("token_type_ids",),
    ),
    _deberta("to-position", _DEBERTA | {"pos_att_type": ["c2p"], "conv_kernel_size": 5}),
    _deberta("from-position", _DEBERTA | {"pos_att_type": ["p2c"], "tie_word_embeddings": False}),
    # Theirs draws dropout for the table all the same.
    _deberta(
        "no-terms",
        _DEBERTA | {"pos_att_type": None, "norm_rel_ebd": "none"},
        drops_alike=False,
    ),
    _deberta("absolute", _BERT | {"pos_att_type": "c2p|p2c", "norm_rel_ebd": "layer_norm"}),
    _deberta(
        "narrow-words",
        _DEBERTA_V2
        | {"embedding_size": 16, "conv_groups": 2, "conv_act": "relu", "hidden_act": "relu"},
    ),
    _deberta(
        "pooler",
        _DEBERTA | {"pooler_hidden_act": "tanh", "cls_dropout": 0.3, "num_labels": 9},
        "sequence-classification",
    ),
    Case("roberta", "RobertaConfig", _ROBERTA, ENCODER_TASKS, extra=_TYPES),
    Case(
        "roberta-untied-far-pad",
        "RobertaConfig",
        _ROBERTA | {"tie_word_embeddings": False, "hidden_act": "relu", "pad_token_id": 3},
        ("masked-lm",),
    ),
    Case(
        "roberta-one-segment",
        "RobertaConfig",
        _ROBERTA | {"type_vocab_size": 1, "num_labels": 3},
        ("sequence-classification",),
    ),
    Case("xlm-roberta", "XLMRobertaConfig", _ROBERTA, ENCODER_TASKS),
    Case("camembert", "CamembertConfig", _ROBERTA, ENCODER_TASKS),
    Case("distilbert", "DistilBertConfig", _DISTILBERT, ENCODER_TASKS),
    Case(
        "distilbert-untied-sines",
        "DistilBertConfig",
        _DISTILBERT
        | {"tie_word_embeddings": False, "sinusoidal_pos_embds": True, "activation": "relu"},
        ("masked-lm",),
    ),
    Case(
        "distilbert-multi-label",
        "DistilBertConfig",
        _DISTILBERT | {"num_labels": 5, "problem_type": "multi_label_classification"},
        ("sequence-classification",),
    ),
    Case("albert", "AlbertConfig", _ALBERT, ENCODER_TASKS, extra=_TYPES, passes=2),
    Case(
        "albert-groups",
        "AlbertConfig",
        _ALBERT | {"num_hidden_layers": 3, "num_hidden_groups": 2, "inner_group_num": 2},
        ("masked-lm",),
        passes=2,
    ),
    Case(
        "albert-wide-untied",
        "AlbertConfig",
        _ALBERT
        | {
            "embedding_size": 32,
            "num_hidden_groups": 2,
            "hidden_act": "relu",
            "tie_word_embeddings": False,
        },
        ("masked-lm",),
    ),
    Case("electra", "ElectraConfig", _ALBERT, (*ENCODER_TASKS, "pretraining"), extra=_TYPES),
    Case(
        "electra-same-width",
        "ElectraConfig",
        _BERT | {"embedding_size": 32, "hidden_act": "relu", "tie_word_embeddings": False},
        ("masked-lm", "sequence-classification"),
    ),
    Case(
        "electra-no-projection",
        "ElectraConfig",
        _ALBERT | {"summary_use_proj": False, "summary_activation": "tanh"},
        ("masked-lm", "multiple-choice"),
    ),
    Case(
        "layoutlm",
        "LayoutLMConfig",
        _LAYOUTLM,
        tuple(task for task in ENCODER_TASKS if task != "multiple-choice"),
        extra=("token_type_ids", "bbox"),
    ),
    Case("layoutlm-no-boxes", "LayoutLMConfig", _LAYOUTLM, ("token-classification",)),
    Case(
        "tapas",
        "TapasConfig",
        _TAPAS,
        ("masked-lm", "sequence-classification", "embedding"),
        attention="eager",
        extra=_TYPES,
    ),
    Case(
        "tapas-answers",
        "TapasConfig",
        _TAPAS | {"max_num_rows": 3, "max_num_columns": 2, "allow_empty_column_selection": True},
        ("masked-lm", "table-question-answering"),
        attention="eager",
        extra=_TYPES,
        leaks=True,
    ),
    Case("tapas-no-table", "TapasConfig", _TAPAS, ("masked-lm",), attention="eager"),
    Case(
        "tapas-few-positions",
        "TapasConfig",
        _TAPAS | {"max_position_embeddings": 4},
        ("masked-lm",),
        attention="eager",
        extra=_TYPES,
    ),
    Case(
        "tapas-positions-in-a-row",
        "TapasConfig",
        _TAPAS | {"reset_position_index_per_cell": False, "type_vocab_sizes": [3, 4]},
        ("masked-lm",),
        attention="eager",
        extra=_TYPES,
    ),
]

_CONVBERT = _BERT | {"embedding_size": 32, "conv_kernel_size": 5, "pad_token_id": 0}


def _convbert(name: str, *tasks: str, **changes: Any) -> Case:
    config, settings = "ConvBertConfig", _CONVBERT | changes
    more: dict[str, Any] = {"extra": ("token_type_ids",), "attention": "eager", "leaks": True}
    return Case(f"convbert{name}", config, settings, tasks or ("masked-lm",), **more)


CASES += [
    _convbert("", *ENCODER_TASKS),
    _convbert("-groups", num_groups=2, embedding_size=16, head_ratio=4, hidden_act="relu"),
    _convbert("-one-head", head_ratio=8, conv_kernel_size=9, tie_word_embeddings=False),
    _convbert("-classifier", "sequence-classification", hidden_act="relu", num_labels=3),
    _convbert("-choice", "multiple-choice"),
    _convbert("-first", "multiple-choice", summary_type="first"),
    _convbert(
        "-summary",
        "multiple-choice",
        summary_type="mean",
        summary_use_proj=True,
        summary_activation="gelu",
        summary_last_dropout=0.1,
    ),
]

_MODERNBERT = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "local_attention": 6,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}


def _modernbert(name: str, *tasks: str, **changes: Any) -> Case:
    tasks = tasks or ("masked-lm",)
    return Case(f"modernbert{name}", "ModernBertConfig", _MODERNBERT | changes, tasks)


CASES += [
    _modernbert("", *ENCODER_TASKS),
    _modernbert(
        "-biases",
        norm_bias=True,
        attention_bias=True,
        mlp_bias=True,
        classifier_bias=True,
        decoder_bias=False,
        global_attn_every_n_layers=2,
    ),
    _modernbert(
        "-layer-types",
        layer_types=["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e3},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
        local_attention=3,
        hidden_activation="silu",
        classifier_activation="relu",
        norm_eps=1e-3,
        tie_word_embeddings=False,
    ),
    _modernbert("-mean", "sequence-classification", classifier_pooling="mean", num_labels=3),
]

_MPNET = _ROBERTA | {"max_position_embeddings": 80}
CASES += [
    Case("mpnet", "MPNetConfig", _MPNET, ENCODER_TASKS, attention="eager"),
    Case(
        "mpnet-far",
        "MPNetConfig",
        _MPNET | {"tie_word_embeddings": False, "hidden_act": "relu"},
        ("masked-lm",),
        attention="eager",
        length=78,
    ),
]

_ESM = _ROBERTA | {"mask_token_id": 7}
_ESM_HEADS = ("masked-lm", "sequence-classification", "token-classification", "embedding")
_NOMIC = _BERT | {"layer_norm_eps": 1e-5}
CASES += [
    Case(
        "esm",
        "EsmConfig",
        _ESM | {"position_embedding_type": "rotary", "token_dropout": True},
        _ESM_HEADS,
    ),
    Case(
        "esm-learned",
        "EsmConfig",
        _ESM | {"emb_layer_norm_before": True, "tie_word_embeddings": False},
        ("masked-lm",),
    ),
    Case("nomic-bert", "NomicBertConfig", _NOMIC, _ESM_HEADS, extra=_TYPES),
    Case(
        "nomic-bert-narrow",
        "NomicBertConfig",
        _NOMIC
        | {
            "head_dim": 6,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0},
        },
        ("masked-lm",),
    ),
    Case("ernie", "ErnieConfig", _BERT, ENCODER_TASKS, extra=_TYPES),
    Case(
        "ernie-tasks",
        "ErnieConfig",
        _BERT | {"use_task_id": True},
        ("masked-lm",),
        extra=(*_TYPES, "task_type_ids"),
    ),
]

_DEBERTA_HEADS = tuple(task for task in ENCODER_TASKS if task != "multiple-choice")


def _first_deberta(name: str, changes: dict[str, Any], *tasks: str, **more: Any) -> Case:
    settings, tasks = _DEBERTA | changes, tasks or ("masked-lm",)
    return Case(f"first-deberta{name}", "DebertaConfig", settings, tasks, attention="eager", **more)


CASES += [
    _first_deberta("", {"max_relative_positions": 6}, *_DEBERTA_HEADS),
    _first_deberta(
        "-segments",
        {"pos_att_type": "c2p", "type_vocab_size": 2, "position_biased_input": False},
        extra=_TYPES,
        drops_alike=False,  # theirs draws for the rows of the table that the input needs
    ),
    _first_deberta(
        "-authors-head",
        {"pos_att_type": ["p2c"], "legacy": False, "max_relative_positions": 8},
    ),
    _first_deberta("-absolute", {"relative_attention": False}),
]

LONGFORMER = _ROBERTA | {"attention_window": 6, "max_position_embeddings": 50}


def _longformer(name: str, changes: dict[str, Any], *tasks: str, **more: Any) -> Case:
    """Theirs gives weights in another form, and draws dropout for it."""
    settings, tasks = LONGFORMER | changes, tasks or ("masked-lm",)
    more |= {"attention": "eager", "attends": False, "drops_alike": False}
    return Case(f"longformer{name}", "LongformerConfig", settings, tasks, **more)


CASES += [
    _longformer("", {}, *ENCODER_TASKS, extra=(*_TYPES, "global_attention_mask")),
    _longformer("-windows", {"attention_window": [4, 10]}, extra=("global_attention_mask",)),
    _longformer("-local", {"attention_window": 4, "tie_word_embeddings": False}),
]

_XLNET = {
    "vocab_size": 61,
    "d_model": 32,
    "n_layer": 2,
    "n_head": 4,
    "d_inner": 64,
    "initializer_range": 0.2,
}


def _xlnet(name: str, changes: dict[str, Any], *tasks: str, **more: Any) -> Case:
    """Theirs draws dropout in another order, and summarizes padding."""
    settings, tasks = _XLNET | changes, tasks or ("permutation-lm",)
    more = {"attention": "eager", "drops_alike": False} | more
    return Case(f"xlnet{name}", "XLNetConfig", settings, tasks, **more)


CASES += [
    _xlnet("", {}, "permutation-lm", "token-classification", "question-answering", "embedding"),
    _xlnet(
        "-segments",
        {"clamp_len": 6, "tie_word_embeddings": False, "ff_activation": "relu"},
        extra=_TYPES,
    ),
    _xlnet(
        "-summary",
        {"num_labels": 3},
        "permutation-lm",
        "sequence-classification",
        "multiple-choice",
        leaks=True,
    ),
]

_FUNNEL = {
    "vocab_size": 61,
    "block_sizes": [1, 2, 1],
    "num_decoder_layers": 2,
    "d_model": 32,
    "n_head": 4,
    "d_head": 6,
    "d_inner": 64,
    "pad_token_id": 0,
}


def _funnel(name: str, changes: dict[str, Any], *tasks: str, **more: Any) -> Case:
    """Padding is pooled with the text, and theirs draws dropout for other distances."""
    settings, tasks = _FUNNEL | changes, tasks or ("masked-lm",)
    more |= {"attention": "eager", "steady": False, "drops_alike": False}
    return Case(f"funnel{name}", "FunnelConfig", settings, tasks, **more)


CASES += [
    _funnel("", {}, *ENCODER_TASKS, "pretraining", extra=_TYPES),
    _funnel("-factorized", {"attention_type": "factorized", "pooling_type": "max"}, extra=_TYPES),
    _funnel("-whole-rows", {"truncate_seq": False, "tie_word_embeddings": False, "d_head": 8}),
    _funnel("-pooled-keys", {"separate_cls": False, "pool_q_only": False}, extra=_TYPES),
    _funnel(
        "-repeats",
        {"block_sizes": [2, 1], "block_repeats": [2, 1], "attention_type": "factorized"},
        passes=2,
    ),
]
