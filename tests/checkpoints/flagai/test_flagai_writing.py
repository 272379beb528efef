"""FlagAI folders: its own classes' names and files, and the tensors bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.models import GPT2, LLAMA, tiny
from tests.convert.memory import SLACK, peak_growth
from tests.flagai.folders import ALL, divide_into_ranks, make, stored
from tests.flagai.folders import write as write_folder
from tfcli.checkpoints.container import WriteOptions
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.flagai import write as writer
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.checkpoints.plan import Plan, make_plan
from tfcli.checkpoints.verify import verify
from tfcli.commands.app import run
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.flagai import models
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize


def written(source: Path, target: Path, parts: int = 1, dtype: str | None = None) -> Plan:
    plan = make_plan(writer.prepare(open_checkpoint(source)), dtype)
    target.mkdir(exist_ok=True)
    writer.write(plan, target, WriteOptions(max_shard_bytes=10**9, parts=parts))
    return plan


def assert_read_again(plan: Plan, folder: Path) -> None:
    """What was written is what was planned; beside it there are only the twins of tied tensors."""
    assert find_container(folder).name == "flagai"
    again = make_plan(open_checkpoint(folder), None)
    found = {item.tensor.name: item.tensor for item in again.written}
    assert found.keys() == {item.tensor.name for item in plan.written}
    for item in plan.written:
        value = found[item.tensor.name].read()
        assert torch.equal(value, item.tensor.read().to(value.dtype)), item.tensor.name
        assert found[item.tensor.name].dtype == item.dtype


@pytest.mark.parametrize("cls", ALL)
def test_there_and_back_bit_for_bit(tmp_path, cls):
    model = make(cls)
    before = stored(write_folder(tmp_path / "first", model))
    save_model(model.core, tmp_path / "hf")
    plan = written(tmp_path / "hf", tmp_path / "flagai")
    assert_read_again(plan, tmp_path / "flagai")
    after = stored(tmp_path / "flagai")
    if cls is models.BertForEmbedding:  # nothing tells it from a BertModel, which stores it bare
        before = {name.removeprefix("model."): value for name, value in before.items()}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = cls.from_pretrain(tmp_path, "flagai").core.state_dict()
    for name, value in model.core.state_dict().items():
        assert torch.equal(again[name], value), name
    assert "model_type" not in json.loads((tmp_path / "flagai/config.json").read_text())


@pytest.mark.parametrize("cls", [models.BertForMaskLM, models.T5Model, models.GLMModel])
def test_the_command_writes_and_checks_it(tmp_path, cls, capsys):
    save_model(make(cls).core, tmp_path / "hf")
    assert run(["convert", str(tmp_path / "hf"), str(tmp_path / "out"), "--to", "flagai"]) == 0
    assert find_container(tmp_path / "out").name == "flagai"
    assert run(["convert", str(tmp_path / "out"), str(tmp_path / "back")]) == 0
    before, after = open_tensors(tmp_path / "hf"), open_tensors(tmp_path / "back")
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_trained_head_beside_the_token_table(tmp_path):
    """The config ties what differs; the one bias goes along under both of its names."""
    save_model(make(models.BertForMaskLM).core, tmp_path / "hf")
    source = open_tensors(tmp_path / "hf")
    held = {name: source[name].clone() for name in source}
    assert "cls.predictions.decoder.bias" not in held
    held["cls.predictions.decoder.weight"] = head = torch.randn(61, 32)
    pending = [PendingTensor.of(name, value) for name, value in held.items()]
    write_safetensors(tmp_path / "hf/model.safetensors", pending)
    assert run(["convert", str(tmp_path / "hf"), str(tmp_path / "out"), "--to", "flagai"]) == 0
    again = models.BertForMaskLM.from_pretrain(tmp_path, "out").core.state_dict()
    assert torch.equal(again["cls.predictions.decoder.weight"], head)
    bias = held["cls.predictions.bias"]
    assert torch.equal(again["cls.predictions.decoder.bias"], bias) and bias.any()


def test_a_twin_that_differs_is_found(tmp_path):
    """FlagAI has BERT's token table twice: the second is looked at too."""
    save_model(make(models.BertForMaskLM).core, tmp_path / "hf")
    plan = written(tmp_path / "hf", tmp_path / "flagai")
    held = stored(tmp_path / "flagai")
    held["cls.predictions.decoder.weight"][3, 4] += 1
    torch.save(held, tmp_path / "flagai/pytorch_model.bin")
    with (
        Console.silent().progress("", 1) as bar,
        pytest.raises(WorkError, match=r"decoder\.weight"),
    ):
        verify(plan, open_checkpoint(tmp_path / "flagai"), bar)


def test_another_type(tmp_path):
    save_model(make(models.BertForMaskLM).core, tmp_path / "hf")
    plan = written(tmp_path / "hf", tmp_path / "flagai", dtype="BF16")
    assert_read_again(plan, tmp_path / "flagai")
    assert {value.dtype for value in stored(tmp_path / "flagai").values()} == {torch.bfloat16}


@pytest.mark.parametrize("parts", [2, 4])
def test_glm_in_parts(tmp_path, parts):
    """The files are those that FlagAI's own tool makes of one, as tests.flagai.folders does."""
    model = make(models.GLMForSeq2Seq, vocab_size=64)
    save_model(model.core, tmp_path / "hf")
    plan = written(tmp_path / "hf", tmp_path / "flagai", parts)
    names = [f"pytorch_model_{rank:02d}.bin" for rank in range(parts)]
    assert sorted(path.name for path in tmp_path.glob("flagai/*.bin")) == names
    assert_read_again(plan, tmp_path / "flagai")
    write_folder(tmp_path / "theirs", model)
    divide_into_ranks(tmp_path / "theirs", "glm", parts)
    for name in names:
        ours, theirs = (
            torch.load(tmp_path / folder / name, weights_only=True)["module"]
            for folder in ("flagai", "theirs")
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_rows_of_a_rank(tmp_path):
    model = make(models.GLMModel, vocab_size=64)
    save_model(model.core, tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "flagai", 2)
    second = torch.load(tmp_path / "flagai/pytorch_model_01.bin", weights_only=True)["module"]
    layer = model.core.body.transformer.layers[1]
    query, key, value = layer.attention.query_key_value.weight.chunk(3)
    at = "transformer.layers.1."
    fused = second[f"{at}attention.query_key_value.weight"]
    assert torch.equal(fused, torch.cat([query[16:], key[16:], value[16:]]))
    dense = layer.mlp.dense_4h_to_h.weight
    assert torch.equal(second[f"{at}mlp.dense_4h_to_h.weight"], dense[:, 64:])
    assert torch.equal(second[f"{at}input_layernorm.bias"], layer.input_layernorm.bias)


@pytest.mark.parametrize(
    ("cls", "keys", "parts", "message"),
    [
        (models.GLMModel, {}, 2, r"2 parts do not divide 61, in 'word_embeddings.weight'"),
        (models.GLMModel, {"vocab_size": 64}, 8, "8 parts do not divide 4 heads"),
        (models.GPT2Model, {}, 2, "FlagAI loads no gpt2 model from several files"),
        (models.BertModel, {}, 2, "FlagAI loads no bert model from several files"),
    ],
)
def test_parts_that_do_not_fit(tmp_path, cls, keys, parts, message):
    save_model(make(cls, **keys).core, tmp_path / "hf")
    with pytest.raises(UsageError, match=message):
        written(tmp_path / "hf", tmp_path / "flagai", parts)
    assert not list((tmp_path / "flagai").iterdir())


def test_what_the_hub_calls_gpt2_s_tensors(tmp_path):
    """FlagAI's class wants the prefix, and leaves what has none at random without a word."""
    save_model(tiny(GPT2), tmp_path / "hf")
    held = dict(open_tensors(tmp_path / "hf"))
    bare = {name.removeprefix("transformer."): value for name, value in held.items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    pending = [PendingTensor.of(name, value) for name, value in bare.items()]
    write_safetensors(tmp_path / "hf/model.safetensors", pending)
    written(tmp_path / "hf", tmp_path / "flagai")
    found = stored(tmp_path / "flagai")
    assert found.keys() == set(held)
    assert all(torch.equal(found[name], held[name]) for name in held)


@pytest.mark.parametrize(
    ("settings", "task", "message"),
    [
        (LLAMA, "causal-lm", "'llama'"),
        (GPT2, "sequence-classification", "no class for GPT2ForSequenceClassification"),
        (
            {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 61},
            "masked-lm",
            "intermediate_size to be 128",
        ),
    ],
)
def test_what_flagai_has_no_class_for(tmp_path, settings, task, message):
    save_model(initialize(build(config_from_recipe(settings), task)), tmp_path / "hf")
    with pytest.raises(WorkError, match=message):
        writer.prepare(open_checkpoint(tmp_path / "hf"))


def test_a_head_that_differs_from_the_table(tmp_path):
    save_model(tiny({**GPT2, "tie_word_embeddings": False}), tmp_path / "hf")
    with pytest.raises(WorkError, match=r"lm_head\.weight differs from transformer\.wte\.weight"):
        written(tmp_path / "hf", tmp_path / "flagai")
    assert not list((tmp_path / "flagai").iterdir())


@pytest.mark.parametrize("parts", [1, 2])
def test_memory_is_that_of_one_tensor(tmp_path, parts):
    keys: dict[str, Any] = {"vocab_size": 64, "hidden_size": 1024, "num_layers": 4}
    model = make(models.GLMModel, **keys)
    save_model(model.core, tmp_path / "hf")
    largest, total = 1024 * 4096 * 4, sum(p.nbytes for p in model.core.parameters())
    del model
    written(tmp_path / "hf", tmp_path / "warm", parts, "BF16")

    def work() -> None:
        written(tmp_path / "hf", tmp_path / "flagai", parts, "BF16")

    with freed_at_once():  # as in a conversion
        growth = peak_growth(work)
    assert total > 2 * (2 * largest + SLACK)
    assert growth < 2 * largest + SLACK, f"{growth / 1e6:.0f} MB of {total / 1e6:.0f} MB"
