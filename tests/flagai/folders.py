"""Tiny folders as FlagAI writes them: config.json without model_type, pytorch_model.bin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tfcli.flagai import models

CONFIGS: dict[str, dict[str, Any]] = {
    "glm": {
        "num_layers": 2,
        "vocab_size": 61,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "embedding_dropout_prob": 0.1,
        "attention_dropout_prob": 0.1,
        "output_dropout_prob": 0.1,
        "max_sequence_length": 48,
        "max_memory_length": 0,
        "checkpoint_activations": False,
        "checkpoint_num_layers": 1,
        "parallel_output": True,
        "relative_encoding": False,
        "block_position_encoding": True,
        "output_predict": True,
        "spell_length": None,
        "spell_func": "lstm",
        "attention_scale": 1.0,
    },
    "bert": {
        "vocab_size": 61,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "max_position_embeddings": 48,
        "type_vocab_size": 2,
        "layernorm_epsilon": 1e-5,
    },
    "gpt2": {
        "vocab_size": 61,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 48,
        "n_inner": None,
        "activation_function": "gelu_new",
        "initializer_range": 0.02,
    },
    "t5": {
        "vocab_size": 61,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "initializer_factor": 1.0,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    },
}
CLASSES: dict[str, tuple[type[models.BaseModel], ...]] = {
    "glm": (
        models.GLMModel,
        models.GLMForSeq2Seq,
        models.GLMForMultiTokenCloze,
        models.GLMForSingleTokenCloze,
        models.GLMForSequenceClassification,
    ),
    "bert": (
        models.BertModel,
        models.BertForEmbedding,
        models.BertForMaskLM,
        models.BertForSeq2seq,
        models.BertForClsClassifier,
        models.BertForSequenceLabeling,
    ),
    "gpt2": (models.GPT2Model,),
    "t5": (models.T5Model,),
}
ALL = [one for classes in CLASSES.values() for one in classes]


def make(cls: type[models.BaseModel], seed: int = 0, **keys: Any) -> Any:
    """A tiny model whose norms and biases do something."""
    if cls.needs_classes:
        keys = {"class_num": 3, **keys}
    model = cls({**CONFIGS[cls.kind], **keys}, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * 0.1)
    return model


def write(folder: Path, model: models.BaseModel) -> Path:
    """Write a model as a FlagAI folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(model.config)))
    model.save_weights(folder / "pytorch_model.bin")
    return folder


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """What the folder's pytorch_model.bin holds."""
    found: dict[str, torch.Tensor] = torch.load(folder / "pytorch_model.bin", weights_only=True)
    return found


# Modules of FlagAI's `mp_tools.py`: what is cut by rows, by columns, or each third of it by rows.
CUTS = {
    "glm": {
        "word_embeddings": "rows",
        "query_key_value": "thirds",
        "dense": "columns",
        "dense_h_to_4h": "rows",
        "dense_4h_to_h": "columns",
    },
    "gpt2": {"wte": "rows", "c_attn": "thirds", "c_fc": "rows", "c_proj": "columns"},
}


def _part(how: str | None, value: torch.Tensor, count: int, rank: int) -> torch.Tensor:
    if how is None or (how == "columns" and value.dim() == 1):
        return value
    if how == "thirds":
        return torch.cat([third.chunk(count)[rank] for third in value.chunk(3)])
    return value.chunk(count, 1 if how == "columns" else 0)[rank]


def divide_into_ranks(folder: Path, kind: str, count: int) -> None:
    """Divide a folder's weights as model-parallel ranks hold them."""
    held = stored(folder)
    (folder / "pytorch_model.bin").unlink()
    for rank in range(count):
        part = {}
        for name, value in held.items():
            part[name] = _part(CUTS[kind].get(name.split(".")[-2]), value, count, rank).clone()
        torch.save({"module": part}, folder / f"pytorch_model_{rank:02d}.bin")
