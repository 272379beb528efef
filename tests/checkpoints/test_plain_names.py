"""The quick look at names never says more than the classes do."""

from __future__ import annotations

import re

import pytest

from tests.checkpoints.models import LLAMA
from tests.models.tiny import tiny_model
from tfcli.checkpoints.plain_names import are_plain
from tfcli.checkpoints.ties import surplus
from tfcli.models.registry import FAMILIES
from tfcli.models.rules import place_of
from tfcli.models.saving import export_config, export_tensors

DECODERS = [name for name, f in FAMILIES.items() if f.kind in ("decoder", "recurrent")]
# One name for every pattern of a decoder's tensors that are no parameters.
BUFFERS = [
    "model.layers.0.self_attn.rotary_emb.inv_freq",
    "model.layers.46.mlp.up_proj.weight",
    "model.layers.61.mlp.up_proj.weight",
    "model.mtp_linear_proj.0.weight",
    "transformer.h.0.attn.bias",
    "transformer.h.0.attn.masked_bias",
    "transformer.h.0.attn.causal_mask",
    "transformer.h.0.attn.embed_positions",
    "transformer.h.0.attn.attention.masked_bias",
    "transformer.h.0.attn.attention.bias",
    "transformer.h.0.self_attention.bias",
    "gpt_neox.layers.0.attention.bias",
    "model.layers.0.self_attn.slope_rate",
    "model.visual.blocks.0.norm1.weight",
    "mtp.layers.0.mlp.up_proj.weight",
]


@pytest.mark.parametrize("model_type", DECODERS)
def test_plain_names_have_no_surplus(model_type):
    family = FAMILIES[model_type]
    for tie in (True, False):
        model = tiny_model(model_type, tie_word_embeddings=tie)
        config, names = export_config(model), list(dict(export_tensors(model)))
        assert not surplus(config, names)
        heads = [place_of(model.rules(), name).name for name in model.active_ties()]
        for name in [*BUFFERS, *heads]:
            assert not are_plain(config, [*names, name]), name
    classes = [family.model_class(task) for task in family.heads]
    patterns = {p for each in classes for p in each.ignorable_of(model.config)}
    assert all(any(re.search(p, name) for name in BUFFERS) for p in patterns)


def test_what_it_can_tell():
    names = ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"]
    biases = ["model.layers.0.self_attn.q_proj.bias", "model.layers.0.attn_norm.bias"]
    assert are_plain(LLAMA, [*names, *biases, "lm_head.weight"])
    tied = LLAMA | {"tie_word_embeddings": True}
    assert are_plain(tied, names)
    assert not are_plain(tied, [*names, "lm_head.weight"])
    for config in (LLAMA | {"model_type": "lama"}, {}, LLAMA | {"hidden_size": -1}):
        assert not are_plain(config, names)
    assert not are_plain({"model_type": "bert"}, ["bert.embeddings.word_embeddings.weight"])
