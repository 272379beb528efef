"""`tfcli initialize`: random weights that follow from the seed, changes of the config, heads."""

import json

import pytest
import transformers
from safetensors.torch import load_file

from tfcli.commands.app import run


@pytest.fixture
def initialize(tmp_path, tiny_llama, capsys):
    """Makes a checkpoint of the tiny model's config; gives its folder and the JSON."""

    def call(name: str, *flags: str, source=tiny_llama, code: int = 0):
        out = tmp_path / name
        capsys.readouterr()
        words = ["initialize", "--config", str(source), "--output", str(out)]
        assert run([*words, *flags, "--json", "--quiet"]) == code
        return out, json.loads(capsys.readouterr().out)

    return call


def test_weights_follow_from_the_seed_and_transformers_loads_them(initialize):
    first, result = initialize("a")
    again, _ = initialize("b")
    other, _ = initialize("c", "--seed", "1")
    one, same, another = (load_file(each / "model.safetensors") for each in (first, again, other))
    key = "model.layers.0.mlp.up_proj.weight"
    assert all((one[name] == same[name]).all() for name in one)
    assert not (one[key] == another[key]).all()
    model = transformers.AutoModelForCausalLM.from_pretrained(first)
    assert (model.state_dict()[key] == one[key]).all()
    assert result["parameters"] == model.num_parameters()
    assert "tokenizer.json" in result["companions"] and (first / "tokenizer.json").is_file()


def test_keys_of_the_config_are_changed(initialize):
    out, result = initialize("a", "--set", "changes.num_hidden_layers=1", "--dtype", "bf16")
    config = json.loads((out / "config.json").read_text())
    assert config["num_hidden_layers"] == 1 and result["dtype"] == "bfloat16"
    weights = load_file(out / "model.safetensors")
    assert not any(".layers.1." in name for name in weights)


def test_a_config_alone_has_no_tokenizer_and_a_head_is_chosen(initialize, tiny_llama):
    flags = ("--task", "sequence-classification")
    out, result = initialize("a", *flags, source=tiny_llama / "config.json")
    assert (result["task"], result["companions"]) == ("sequence-classification", [])
    assert "score.weight" in load_file(out / "model.safetensors")


def test_what_cannot_be_made_is_refused(initialize, tmp_path):
    assert (
        "no head 'seq2seq-lm'"
        in initialize("a", "--task", "seq2seq-lm", code=2)[1]["error"]["what"]
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no config.json" in initialize("a", source=empty, code=2)[1]["error"]["what"]
