"""Which tensors of a checkpoint are one, whatever names it has for them."""

from __future__ import annotations

import pytest

from tests.checkpoints.models import GPT2, LLAMA
from tests.models.tiny import content, tiny_model
from tfcli.checkpoints.ties import config_ties, surplus
from tfcli.models.registry import FAMILIES
from tfcli.models.saving import export_config, export_tensors

TIED = LLAMA | {"tie_word_embeddings": True}
PAIR = {"lm_head.weight": "model.embed_tokens.weight"}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_tie_of_a_family_is_known_by_the_names_that_are_written(model_type):
    model = tiny_model(model_type)
    config, names = export_config(model), set(dict(export_tensors(model)))
    ties = config_ties(config)
    assert len(ties) == len(model.active_ties())
    assert not ties.keys() & names
    assert set(ties.values()) <= names | ties.keys()
    assert config_ties(config, [*names, *ties]) == ties
    assert config_ties(config, names) == {}


def test_the_config_decides():
    assert config_ties(TIED) == PAIR
    assert config_ties(LLAMA) == {}
    t5 = content("t5", tie_word_embeddings=False) | {"tie_word_embeddings": False}
    assert set(config_ties(t5)) == {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    alone = content("marian") | {"share_encoder_decoder_embeddings": False}
    assert set(config_ties(alone)) == {"lm_head.weight"}


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["lm_head.weight", "model.embed_tokens.weight"], PAIR),
        # A base model's names have no prefix.
        (["lm_head.weight", "embed_tokens.weight"], {"lm_head.weight": "embed_tokens.weight"}),
        (["model.embed_tokens.weight"], {}),
        (["lm_head.weight"], {}),
    ],
)
def test_a_checkpoints_own_names_are_found(names, pairs):
    assert config_ties(TIED, names) == pairs
    assert surplus(TIED, names) == set(pairs)


def test_old_names_are_names():
    """FlagAI's GLM had another prefix."""
    config = content("glm", tie_word_embeddings=True)
    names = ["model.word_embeddings.weight", "lm_head.weight"]
    assert config_ties(config, names) == {"lm_head.weight": "model.word_embeddings.weight"}


def test_buffers_are_surplus_too():
    names = ["h.0.attn.bias", "h.0.attn.c_attn.bias", "wte.weight", "lm_head.weight"]
    assert surplus(GPT2, names) == {"h.0.attn.bias", "lm_head.weight"}


@pytest.mark.parametrize(
    "changes", [{"model_type": "lama"}, {"architectures": ["Unheard"]}, {"hidden_act": "no"}]
)
def test_nothing_is_known_of_what_is_not_understood(changes):
    config = TIED | changes
    assert config_ties(config) == config_ties(config, [*PAIR, *PAIR.values()]) == {}
    assert surplus(config, ["lm_head.weight", "model.embed_tokens.weight"]) == set()
