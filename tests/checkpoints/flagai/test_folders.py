"""FlagAI folders to Hugging Face's layout and back: what both programs then read and compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.flagai.folders import ALL, CONFIGS, divide_into_ranks, make, stored, write
from tfcli.checkpoints.flagai.folders import is_folder
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.commands.app import run
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import WorkError
from tfcli.flagai import models
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.recipe.execute import execute


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


@pytest.mark.parametrize("cls", ALL)
def test_there_and_back_bit_for_bit(cls, tmp_path):
    model = make(cls)
    write(tmp_path / "flagai", model)
    convert(tmp_path / "flagai", tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "back", to="flagai")
    before, after = stored(tmp_path / "flagai"), stored(tmp_path / "back")
    if cls is models.BertForEmbedding:  # nothing tells it from a BertModel, which stores it bare
        before = {name.removeprefix("model."): value for name, value in before.items()}
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert is_folder(tmp_path / "back") and not is_folder(tmp_path / "hf")
    again = cls.from_pretrain(tmp_path, "back")
    for name, value in model.core.state_dict().items():
        assert torch.equal(again.core.state_dict()[name], value)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    same = {key: value for key, value in CONFIGS[cls.kind].items() if key != "layernorm_epsilon"}
    assert {key: config.get(key) for key in same} == same


@pytest.mark.parametrize("cls", ALL)
def test_the_core_loads_what_is_written(cls, tmp_path):
    model = make(cls)
    write(tmp_path / "flagai", model)
    convert(tmp_path / "flagai", tmp_path / "hf")
    core = load_model(tmp_path / "hf", task=None)
    assert core.task == model.task
    ids = torch.randint(1, 61, (2, 9))
    given = {"decoder_input_ids": ids} if cls.kind == "t5" else {}
    with torch.no_grad():
        ours, theirs = core(ids, **given).logits, model.core(ids, **given).logits
    if model.task != "embedding":  # the core's own task pools
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("cls", "auto"),
    [
        (models.BertForMaskLM, transformers.AutoModelForMaskedLM),
        (models.BertForClsClassifier, transformers.AutoModelForSequenceClassification),
        (models.BertForSequenceLabeling, transformers.AutoModelForTokenClassification),
        (models.GPT2Model, transformers.AutoModelForCausalLM),
        (models.T5Model, transformers.AutoModelForSeq2SeqLM),
    ],
)
def test_transformers_loads_what_is_written_and_answers_alike(cls, auto, tmp_path):
    model = make(cls)
    write(tmp_path / "flagai", model)
    convert(tmp_path / "flagai", tmp_path / "hf")
    theirs, notes = auto.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not notes["missing_keys"] and not notes["mismatched_keys"]
    ids = torch.randint(1, 61, (2, 9))
    given = {"decoder_input_ids": ids} if cls.kind == "t5" else {}
    with torch.no_grad():
        expected = model(input_ids=ids, **given)["logits"]
        out = theirs.eval()(input_ids=ids, **given).logits
    torch.testing.assert_close(out, expected, atol=5e-5, rtol=1e-4)


def test_a_hugging_face_bert_becomes_flagai_s(tmp_path):
    config = transformers.BertConfig(
        vocab_size=61,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=48,
    )
    theirs = transformers.BertForMaskedLM(config).eval()
    theirs.save_pretrained(tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "flagai", to="flagai")
    held = stored(tmp_path / "flagai")
    assert held["model.encoder.layer.0.attention.self.query_key_value.bias"].shape == (96,)
    table = theirs.bert.embeddings.word_embeddings.weight
    assert torch.equal(held["cls.predictions.decoder.weight"], table)
    model = models.BertForMaskLM.from_pretrain(tmp_path, "flagai")
    assert "model_type" not in model.config
    ids = torch.randint(1, 61, (2, 9))
    with torch.no_grad():
        out = model(ids)["logits"]
        torch.testing.assert_close(out, theirs(ids).logits, atol=2e-5, rtol=1e-4)


def test_what_flagai_would_compute_in_another_way_is_refused(tmp_path):
    bert = {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 61}
    t5 = {"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 48, "vocab_size": 61}
    gpt2 = {"model_type": "gpt2", "n_embd": 32, "n_head": 4, "vocab_size": 61}
    for config, task, message in [
        (bert | {"intermediate_size": 48}, "masked-lm", "intermediate_size to be 128"),
        (t5, "seq2seq-lm", "scale_decoder_outputs"),
        (gpt2 | {"layer_norm_epsilon": 0.1}, "causal-lm", "layer_norm_epsilon"),
        (gpt2, "token-classification", "no class for GPT2ForTokenClassification"),
    ]:
        folder = tmp_path / task / config["model_type"] / str(len(config))
        save_model(initialize(build(config_from_recipe(config), task)), folder)
        with pytest.raises(WorkError, match=message):
            convert(folder, tmp_path / "out", to="flagai")
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_said(tmp_path):
    folder = write(tmp_path / "mine", make(models.GPT2Model))
    held = stored(folder)
    held["lm_head.weight"] = torch.randn(61, 32)
    torch.save(held, folder / "pytorch_model.bin")
    assert list(convert(folder, tmp_path / "hf").unused) == ["lm_head.weight"]


def test_files_that_go_with_it_are_copied(tmp_path):
    folder = write(tmp_path / "mine", make(models.BertModel))
    (folder / "vocab.txt").write_text("[PAD]\n")
    convert(folder, tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "back", to="flagai")
    assert (tmp_path / "back" / "vocab.txt").read_text() == "[PAD]\n"


@pytest.mark.parametrize("kind", ["pickle", "ranks"])
def test_the_command_converts_what_it_finds_to_be_flagai_s(kind, tmp_path, capsys):
    model = make(models.GLMForSeq2Seq, vocab_size=64)
    folder = write(tmp_path / "mine", model)
    if kind == "ranks":
        divide_into_ranks(folder, "glm", 2)
    assert run(["convert", str(folder), str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "flagai"
    core = load_model(tmp_path / "out")
    for name, value in model.core.state_dict().items():
        assert torch.equal(core.state_dict()[name], value)


def test_the_command_says_which_rows_of_a_tensor_become_which(tmp_path, capsys):
    folder = write(tmp_path / "mine", make(models.BertForMaskLM))
    assert run(["convert", str(folder), str(tmp_path / "out"), "--dtype", "bf16", "--json"]) == 0
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)["tensors"]}
    key = found["bert.encoder.layer.1.attention.self.key.weight"]
    assert key["how"] == "part 2 of 3 along dimension 0"
    assert key["sources"] == ["model.encoder.layer.1.attention.self.query_key_value.weight"]
    assert load_model(tmp_path / "out", task=None).dtype == torch.bfloat16


def test_a_dry_run_puts_no_ranks_together(tmp_path, capsys):
    folder = write(tmp_path / "mine", make(models.GLMModel, vocab_size=64))
    divide_into_ranks(folder, "glm", 2)
    assert run(["convert", str(folder), "--dry-run", "--json"]) == 0
    shapes = {t["name"]: t["shape"] for t in json.loads(capsys.readouterr().out)["tensors"]}
    assert shapes["glm.word_embeddings.weight"] == [64, 32]
    assert shapes["glm.transformer.layers.0.attention.dense.weight"] == [32, 32]
