"""What the parity tests do not reach: inputs that do not fit, options, and outputs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from accelerate.utils.operations import convert_to_fp32
from torch.utils import _pytree

from tests.models.test_loading import IDS, TINY, checkpoint, config
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.output import ModelOutput

CAUSAL = ["llama", "gpt2"]


@pytest.mark.parametrize("model_type", TINY)
def test_unknown_keywords_are_an_error(model_type):
    model, _ = checkpoint(model_type)
    with pytest.raises(TypeError, match="use_cache"):
        model(IDS, use_cache=True)


@pytest.mark.parametrize("model_type", CAUSAL)
def test_logits_to_keep(model_type):
    model, _ = checkpoint(model_type)
    whole = model(IDS).logits
    assert torch.allclose(model(IDS, logits_to_keep=2).logits, whole[:, -2:], atol=1e-6)
    with pytest.raises(ModelError, match="labels need the logits of every position"):
        model(IDS, labels=IDS, logits_to_keep=1)


@pytest.mark.parametrize("model_type", TINY)
def test_embeddings_in_place_of_ids(model_type):
    model, _ = checkpoint(model_type)
    table = next(m for m in model.modules() if isinstance(m, torch.nn.Embedding))
    assert torch.equal(model(inputs_embeds=table(IDS)).logits, model(IDS).logits)
    for both in ({}, {"input_ids": IDS, "inputs_embeds": table(IDS)}):
        with pytest.raises(ModelError, match="exactly one"):
            model(**both)


@pytest.mark.parametrize("model_type", TINY)
def test_parts_of_a_window_add_up_to_its_gradient(model_type):
    """Gradient accumulation over ragged parts equals one batch."""
    model, _ = checkpoint(model_type)
    ids = torch.arange(24).view(3, 8) % 23
    labels = ids.clone()
    labels[0, 2:] = -100
    targets = (
        int((labels[:, 1:] != -100).sum())
        if model.task == "causal-lm"
        else int((labels != -100).sum())
    )
    model(ids, labels=labels).loss.backward()
    whole = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for part, own in zip(ids.split([1, 2]), labels.split([1, 2]), strict=True):
        model(part, labels=own, num_target_tokens=targets).loss.backward()
    for parameter, expected in zip(model.parameters(), whole, strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", TINY)
def test_a_row_of_padding_alone_is_finite(model_type, attention):
    _, tensors = checkpoint(model_type)
    model = build(config(model_type), attention=attention)
    load_weights(model, tensors)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, :3] = 0
    mask[1] = 0
    output = model(IDS.expand(2, -1), attention_mask=mask, labels=IDS.expand(2, -1))
    output.loss.backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("model_type", CAUSAL)
def test_checkpointing_leaves_a_cache_alone(model_type):
    model, _ = checkpoint(model_type)
    model.set_activation_checkpointing(True)
    cache = model.make_cache()
    model(IDS, cache=cache).logits.sum().backward()
    assert cache.length == 8 and cache.kept(1) == 8


def test_a_mask_of_another_length_is_refused():
    model, _ = checkpoint("llama")
    cache = model.make_cache()
    model(IDS, cache=cache)
    with pytest.raises(ModelError, match=r"attention_mask has shape \(1, 1\), expected \(1, 9\)"):
        model(IDS[:, :1], cache=cache, attention_mask=torch.ones(1, 1))


@pytest.mark.parametrize("model_type", ["gpt2", "bert"])
def test_too_long_for_learned_positions(model_type):
    model, _ = checkpoint(model_type)
    with pytest.raises(ModelError, match="33 positions, but the model has 32"):
        model(torch.zeros(1, 33, dtype=torch.long))


def test_static_cache_is_full():
    model, _ = checkpoint("llama")
    cache = model.make_cache("static", 8)
    with torch.no_grad():
        first = model(IDS, cache=cache).logits
        with pytest.raises(ModelError, match="holds 8 positions, but 9"):
            model(IDS[:, :1], cache=cache)
        cache.reset()
        assert cache.length == 0
        assert torch.equal(model(IDS, cache=cache).logits, first)


def test_explicit_positions_are_used():
    model, _ = checkpoint("gpt2")
    positions = torch.arange(8)[None]
    assert torch.equal(model(IDS, position_ids=positions).logits, model(IDS).logits)
    assert not torch.equal(model(IDS, position_ids=positions + 1).logits, model(IDS).logits)


def test_casting_the_model_does_not_round_the_rotation():
    model, _ = checkpoint("llama")
    model(IDS)
    rotary = model.bfloat16().model.rotary
    assert rotary.frequencies(torch.arange(4)[None]).dtype == torch.float32


def test_output_is_a_mapping_of_what_is_there():
    output = ModelOutput(logits=torch.ones(2))
    assert isinstance(output, Mapping)
    assert list(output) == ["logits"] and len(output) == 1
    assert output["logits"] is output.logits
    with pytest.raises(KeyError):
        output["loss"]


def test_output_survives_accelerate_and_pytree():
    output = ModelOutput(logits=torch.ones(2).bfloat16(), hidden_states=(torch.ones(1),))
    wide = convert_to_fp32(output)
    assert isinstance(wide, ModelOutput) and wide.logits.dtype == torch.float32
    assert len([x for x in _pytree.tree_leaves(output) if x is not None]) == 2
    doubled = _pytree.tree_map(lambda x: None if x is None else x * 2, output)
    assert doubled.logits.tolist() == [2, 2]
