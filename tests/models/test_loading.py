"""Loading: nothing is copied, nothing is left random, and every odd tensor is named."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize, load_weights
from tfcli.models.saving import export_tensors

TINY = {
    "llama": {
        "vocab_size": 23,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
    },
    "mixtral": {
        "vocab_size": 23,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "num_local_experts": 2,
    },
    "gpt2": {"vocab_size": 23, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "bert": {
        "vocab_size": 23,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 32,
    },
}
IDS = torch.arange(8)[None]


def config(model_type, **changes):
    return config_from_recipe({"model_type": model_type, **TINY[model_type], **changes})


def checkpoint(model_type, task=None, **changes):
    """A model with random weights, and its tensors as a checkpoint holds them."""
    model = initialize(build(config(model_type, **changes), task), seed=1).eval()
    return model, dict(export_tensors(model))


def test_build_takes_no_memory():
    model = build(config("llama"))
    assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize("model_type", TINY)
def test_tensors_are_not_copied(model_type):
    _, tensors = checkpoint(model_type)
    model = build(config(model_type))
    account = load_weights(model, tensors)
    addresses = {tensor.data_ptr() for tensor in tensors.values()}
    assert {parameter.data_ptr() for parameter in model.parameters()} == addresses
    assert set(account.loaded) | set(account.tied) == set(model.state_dict())


def test_gpt2_linears_are_transposed_views():
    _, tensors = checkpoint("gpt2")
    model = build(config("gpt2"))
    load_weights(model, tensors)
    weight = model.transformer.h[0].mlp.c_fc.weight
    stored = tensors["transformer.h.0.mlp.c_fc.weight"]
    assert weight.shape == (64, 16) and stored.shape == (16, 64)
    assert weight.data_ptr() == stored.data_ptr()
    assert torch.equal(weight, stored.t())


def test_dtype_is_converted_when_asked():
    _, tensors = checkpoint("llama")
    model = build(config("llama"))
    account = load_weights(model, tensors, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert account.cast == dict.fromkeys(account.loaded, torch.float32)


def test_mixed_dtypes_become_one():
    source, tensors = checkpoint("llama")
    name = "model.norm.weight"
    tensors[name] = tensors[name].bfloat16()
    model = build(config("llama"))
    account = load_weights(model, tensors)
    assert account.cast == {name: torch.bfloat16}
    assert torch.equal(model.eval()(IDS).logits, source(IDS).logits)


def test_missing_tensors_are_named():
    _, tensors = checkpoint("llama")
    del tensors["model.layers.1.mlp.up_proj.weight"], tensors["lm_head.weight"]
    with pytest.raises(
        ModelError, match=r"lacks model.layers.1.mlp.up_proj.weight, lm_head.weight"
    ):
        load_weights(build(config("llama")), tensors)


def test_unexpected_tensors_are_named():
    _, tensors = checkpoint("llama")
    tensors["model.layers.2.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(ModelError, match=r"holds model.layers.2.mlp.up_proj.weight, which"):
        load_weights(build(config("llama")), tensors)


def test_wrong_shapes_are_named():
    _, tensors = checkpoint("llama")
    with pytest.raises(ModelError, match=r"embed_tokens.weight has shape \[23, 16\].*\[24, 16\]"):
        load_weights(build(config("llama", vocab_size=24)), tensors)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_wrong_dtypes_are_named(dtype):
    _, tensors = checkpoint("llama")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(dtype)
    with pytest.raises(ModelError, match=r"model.norm.weight is (int8|float8_e4m3fn), the model"):
        load_weights(build(config("llama")), tensors, dtype=torch.float32)


def test_known_leftovers_are_skipped_with_a_reason():
    _, tensors = checkpoint("llama")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    account = load_weights(build(config("llama")), tensors)
    assert account.skipped == {
        "model.layers.0.self_attn.rotary_emb.inv_freq": "computed from the config"
    }


def test_gpt2_as_first_published():
    """No prefix, no lm_head, and causal masks among the weights."""
    source, tensors = checkpoint("gpt2")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 32, 32).tril()
    model = build(config("gpt2"))
    account = load_weights(model, bare)
    assert account.tied == {"lm_head.weight": "transformer.wte.weight"}
    assert list(account.skipped) == ["h.0.attn.bias"]
    assert torch.equal(model.eval()(IDS).logits, source(IDS).logits)


def test_bert_as_first_published():
    """gamma and beta for norms, a pooler and a next-sentence head that masked-lm has not."""
    source, tensors = checkpoint("bert", "masked-lm")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors.items()
    }
    old["bert.pooler.dense.weight"] = torch.ones(16, 16)
    old["cls.seq_relationship.bias"] = torch.ones(2)
    old["bert.embeddings.position_ids"] = torch.arange(32)[None]
    model = build(config("bert"), "masked-lm")
    account = load_weights(model, old)
    assert len(account.skipped) == 3
    assert torch.equal(model.eval()(IDS).logits, source(IDS).logits)


def test_one_tensor_under_two_names():
    _, tensors = checkpoint("gpt2")
    tensors["wte.weight"] = tensors["transformer.wte.weight"]
    with pytest.raises(ModelError, match=r"holds transformer.wte.weight twice"):
        load_weights(build(config("gpt2")), tensors)


def test_a_tied_pair_that_is_equal_is_one_parameter():
    _, tensors = checkpoint("llama", tie_word_embeddings=True)
    assert "lm_head.weight" not in tensors
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    model = build(config("llama", tie_word_embeddings=True))
    account = load_weights(model, tensors)
    assert account.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_tied_pair_that_differs_is_refused():
    _, tensors = checkpoint("llama", tie_word_embeddings=True)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1
    with pytest.raises(ModelError, match=r"differ.*tie_word_embeddings: false"):
        load_weights(build(config("llama", tie_word_embeddings=True)), tensors)


def test_a_tied_pair_stored_under_the_other_name():
    _, tensors = checkpoint("llama", tie_word_embeddings=True)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    model = build(config("llama", tie_word_embeddings=True))
    load_weights(model, tensors)
    assert torch.equal(model.model.embed_tokens.weight, tensors["lm_head.weight"])


def test_a_new_head_only_on_request():
    _, tensors = checkpoint("bert", "masked-lm")
    model = build(config("bert", num_labels=3), "sequence-classification")
    with pytest.raises(ModelError, match=r"classifier.weight.*new sequence-classification head"):
        load_weights(model, tensors)
    account = load_weights(model, tensors, new_head=True, dtype=torch.bfloat16)
    assert account.initialized == [
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    ]
    assert model.classifier.weight.std() > 0
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model(IDS).logits.shape == (1, 3)


def test_a_new_head_replaces_nothing_else():
    _, tensors = checkpoint("bert", "masked-lm")
    del tensors["bert.encoder.layer.0.output.dense.weight"]
    model = build(config("bert"), "sequence-classification")
    with pytest.raises(ModelError, match=r"lacks bert.encoder.layer.0.output.dense.weight"):
        load_weights(model, tensors, new_head=True)


def test_unknown_task_and_backend():
    with pytest.raises(
        ModelError, match=r"llama has no task 'causal-ml'.*did you mean 'causal-lm'"
    ):
        build(config("llama"), "causal-ml")
    with pytest.raises(ModelError, match=r"unknown attention backend 'spda'.*did you mean 'sdpa'"):
        build(config("llama"), attention="spda")
