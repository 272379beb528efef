"""Configs: what is read, what is written, what is refused, and that torch stays out of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tfcli.models.config import config_from_recipe
from tfcli.models.configs.rope import IGNORED, config_notes
from tfcli.models.errors import ModelError
from tfcli.models.registry import read_config


def test_dtype_is_read_in_both_spellings_and_written_in_both():
    for key, value in (("dtype", "bfloat16"), ("torch_dtype", "bfloat16")):
        config = read_config({"model_type": "llama", key: value})
        assert config.dtype == "bfloat16"
        assert config.to_dict()["dtype"] == config.to_dict()["torch_dtype"] == "bfloat16"
    assert "dtype" not in read_config({"model_type": "llama"}).to_dict()
    assert read_config({"model_type": "llama", "dtype": "auto"}).dtype is None


def test_rope_is_read_in_both_spellings_and_written_in_both():
    scaling = {"rope_type": "linear", "factor": 2.0}
    old = read_config({"model_type": "llama", "rope_theta": 5e5, "rope_scaling": scaling})
    new = read_config({"model_type": "llama", "rope_parameters": scaling | {"rope_theta": 5e5}})
    older = read_config(
        {
            "model_type": "llama",
            "rope_theta": 5e5,
            "rope_scaling": {"type": "linear", "factor": 2.0},
        }
    )
    assert old == new == older
    written = old.to_dict()
    assert written["rope_parameters"] == scaling | {"rope_theta": 5e5}
    assert written["rope_theta"] == 5e5
    assert written["rope_scaling"] == scaling


@pytest.mark.parametrize("key", IGNORED)
def test_rotary_keys_that_transformers_does_not_read_change_nothing_and_are_named(key):
    scaling = {"rope_type": "yarn", "factor": 4.0}
    plain = {"model_type": "llama", "rope_scaling": scaling}
    odd = {"model_type": "llama", "rope_scaling": {**scaling, key: 0.5}}
    assert read_config(odd).rope_parameters == read_config(plain).rope_parameters
    assert config_notes(plain) == []
    assert config_notes(odd) == [f"rope_parameters.{key} is not read: {IGNORED[key]}"]
    with pytest.raises(ModelError, match=r"rope_parameters\.alpha is not supported"):
        read_config({"model_type": "llama", "rope_scaling": {**scaling, "alpha": 2}})


def test_plain_rope_has_no_scaling():
    written = read_config(
        {"model_type": "llama", "rope_theta": 1e6, "rope_scaling": None}
    ).to_dict()
    assert written["rope_scaling"] is None
    assert written["rope_parameters"] == {"rope_type": "default", "rope_theta": 1e6}


def test_the_trained_length_beside_the_scaling_counts():
    scaling = {"rope_type": "yarn", "factor": 4.0}
    beside = {"original_max_position_embeddings": 512, "max_position_embeddings": 2048}
    config = read_config({"model_type": "llama", "rope_scaling": scaling, **beside})
    assert config.rope_parameters["original_max_position_embeddings"] == 512
    assert config.to_dict()["original_max_position_embeddings"] == 512


def test_unknown_keys_survive():
    extra = {"transformers_version": "4.40.0", "my_key": {"a": [1, None]}, "use_cache": True}
    written = read_config({"model_type": "gpt2", **extra}).to_dict()
    assert {key: written[key] for key in extra} == extra


def test_none_is_written_where_leaving_out_would_mean_something_else():
    written = read_config({"model_type": "llama", "bos_token_id": None}).to_dict()
    assert written["bos_token_id"] is None  # transformers' default is 1
    assert "pad_token_id" not in written


def test_quantization_is_kept_apart():
    quantization = {"quant_method": "gptq", "bits": 4}
    config = read_config({"model_type": "llama", "quantization_config": quantization})
    assert config.quantization == quantization
    assert config.to_dict()["quantization_config"] == quantization
    assert "quantization_config" not in config.replace(quantization=None).to_dict()


def test_gpt2_names_are_read_in_both_spellings():
    own = read_config({"model_type": "gpt2", "n_embd": 64, "n_head": 4})
    common = read_config({"model_type": "gpt2", "hidden_size": 64, "num_attention_heads": 4})
    assert own == common
    assert own.to_dict()["n_embd"] == 64 and "hidden_size" not in own.to_dict()
    with pytest.raises(ModelError, match="n_embd and hidden_size differ"):
        read_config({"model_type": "gpt2", "n_embd": 64, "hidden_size": 32})


def test_labels_of_a_classifier():
    assert read_config({"model_type": "bert"}).num_labels == 2
    config = read_config({"model_type": "bert", "num_labels": 3})
    assert config.id2label == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    named = {"0": "no", "1": "yes"}
    assert read_config({"model_type": "bert", "id2label": named}).label2id == {"no": 0, "yes": 1}


def test_slices_of_a_linear_change_nothing_and_are_passed_over():
    """As the first files of Llama 2 13B ask for: each is computed in two."""
    config = read_config({"model_type": "llama", "pretraining_tp": 2})
    assert config.to_dict()["pretraining_tp"] == 2


REFUSED = {
    # what is wrong -> (config, the key that the error names, a word of the help)
    "width over heads": ("llama", {"hidden_size": 30, "num_attention_heads": 4}, "hidden_size"),
    "heads over kv heads": ("llama", {"num_key_value_heads": 3}, "num_key_value_heads"),
    "gpt2 width": ("gpt2", {"n_embd": 30}, "n_embd"),
    "odd head": ("llama", {"head_dim": 15}, "head_dim"),
    "activation": ("llama", {"hidden_act": "silly"}, "did you mean 'silu'"),
    "gpt2 activation": ("gpt2", {"activation_function": "gelu_nwe"}, "did you mean 'gelu_new'"),
    "partial rope": ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    "partial rope inside": (
        "llama",
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        "partial_rotary_factor",
    ),
    "rope type": (
        "llama",
        {"rope_scaling": {"type": "yarm", "factor": 2.0}},
        "did you mean 'yarn'",
    ),
    "rope key": (
        "llama",
        {"rope_scaling": {"type": "linear", "factor": 2.0, "fcator": 1.0}},
        "did you mean 'factor'",
    ),
    "rope without factor": ("llama", {"rope_scaling": {"type": "linear"}}, "factor"),
    "rope factor": ("llama", {"rope_scaling": {"type": "linear", "factor": "2"}}, "factor"),
    "longrope list": (
        "llama",
        {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}},
        "short_factor",
    ),
    "relative positions": (
        "bert",
        {"position_embedding_type": "relative_key"},
        "position_embedding_type",
    ),
    "decoder bert": ("bert", {"is_decoder": True}, "is_decoder"),
    "cross attention": ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    "problem type": ("bert", {"problem_type": "ranking"}, "problem_type"),
    "wrong type": ("llama", {"vocab_size": "32000"}, "vocab_size"),
    "bool for int": ("llama", {"hidden_size": True}, "hidden_size"),
    "null": ("llama", {"vocab_size": None}, "vocab_size"),
    "dropout": ("gpt2", {"attn_pdrop": 1.0}, "attn_pdrop"),
    "dtype": ("llama", {"torch_dtype": "int8"}, "dtype"),
    "pad outside": ("llama", {"vocab_size": 100, "pad_token_id": 100}, "pad_token_id"),
    "labels": ("bert", {"num_labels": 3, "id2label": {"0": "a"}}, "num_labels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    model_type, values, named = REFUSED[name]
    with pytest.raises(ModelError) as caught:
        read_config({"model_type": model_type, **values})
    assert named in str(caught.value)
    assert caught.value.where is not None


def test_unknown_family():
    with pytest.raises(ModelError, match=r"lama.*did you mean 'llama'\? known: .*bert"):
        read_config({"model_type": "lama"})
    with pytest.raises(ModelError, match="has no model_type"):
        read_config({"hidden_size": 4})


def test_recipes_are_strict():
    config = config_from_recipe({"model_type": "llama", "hidden_size": 64, "rope_theta": 5e5})
    assert config.rope_parameters["rope_theta"] == 5e5
    with pytest.raises(ModelError, match="did you mean 'hidden_size'"):
        config_from_recipe({"model_type": "llama", "hiden_size": 64})
    with pytest.raises(ModelError, match="model_type is missing"):
        config_from_recipe({"hidden_size": 64})


def test_no_heavy_import():
    code = (
        "import sys; from tfcli.models.config import config_from_recipe as read;"
        "[read({'model_type': name}) for name in ('llama', 'gpt2', 'bert')];"
        "print([name for name in ('torch', 'numpy', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_config_is_checked_without_torch():
    code = (
        "import sys\n"
        "from tfcli.models.registry import FAMILIES\n"
        "for family in FAMILIES.values(): family.config_class()\n"
        "assert len(FAMILIES) > 50 and 'torch' not in sys.modules, 'a config imports torch'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
