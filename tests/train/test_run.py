"""Whole runs: what is written, what each key changes, what is refused before the work."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partialmethod
from pathlib import Path

import pytest
import torch

from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.commands.app import run as run_command
from tfcli.console import Console
from tfcli.data.tokens import token_stream
from tfcli.errors import Problem, UsageError
from tfcli.models import processor
from tfcli.process_group import ALONE
from tfcli.recipe.execute import execute
from tfcli.recipe.job import Job
from tfcli.tokenizers.chatml import CHATML
from tfcli.tokenizers.load import load_tokenizer
from tfcli.train.log import read_metrics
from tfcli.train.prepare import build_model, new_config
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.single import Single


@pytest.fixture
def train(make_spec, tmp_path):
    """A function that trains the small spec with some keys changed, in a folder of its own."""
    count = 0

    def do(**changes):
        nonlocal count
        count += 1
        folder = tmp_path / f"run{count}"
        folder.mkdir()
        return run(make_spec(**changes), Job(folder=folder)), folder

    return do


def weights(folder: Path) -> torch.Tensor:
    source = open_tensors(folder)
    return torch.cat([source[name].flatten() for name in sorted(source.names)])


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]


def test_a_finished_run_is_a_folder_that_transformers_loads(train, texts):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result, folder = train(
        max_steps=40, optimizer={"lr": 1e-2}, validation=str(texts / "validation.jsonl")
    )
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "metrics.jsonl",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) and model.dtype == torch.float32
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 0
    ids = torch.tensor([load_tokenizer(folder).encode("the cat sat on a mat while another dog")])
    with torch.no_grad():
        assert model(ids, labels=ids).loss < result.train_loss + 1.5
    assert result.train_loss < losses(folder)[0] - 1
    assert result.parameters == sum(p.numel() for p in model.parameters())


def test_the_result_says_what_was_done(train, texts):
    result, folder = train(validation=str(texts / "validation.jsonl"), validate_every=2)
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "val_loss" in line] == [2, 4, 6]
    assert set(lines[0]) == {"step", "loss", "lr", "grad_norm", "tokens_per_second"}
    assert result.validation_loss == lines[-1]["val_loss"]
    assert result.best_validation_loss == min(
        line["val_loss"] for line in lines if "val_loss" in line
    )
    assert result.train_loss == lines[-1]["loss"]
    assert 300 < result.tokens <= 6 * 4 * 16
    assert 0 < result.epochs < 2
    assert (result.precision, result.device, result.processes) == ("float32", "cpu", 1)
    assert result.resumed_from is None


def test_equal_specs_give_equal_weights_and_another_seed_others(train):
    first, again, other = (weights(train(seed=seed)[1]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_goes_on_from_a_checkpoint(train, tiny_llama, text_file):
    common = {"config": None, "tokenizer": None, "data": str(text_file), "model": str(tiny_llama)}
    result, folder = train(**common, max_steps=1, optimizer={"lr": 1e-9})
    torch.testing.assert_close(weights(folder), weights(tiny_llama), rtol=1e-4, atol=1e-6)
    assert (folder / "tokenizer.json").read_bytes() == (tiny_llama / "tokenizer.json").read_bytes()
    config = json.loads((folder / "config.json").read_text())
    assert config["hidden_size"] == 64
    assert result.steps == 1


def test_the_tokenizer_in_a_single_file_goes_with_the_model(train, tiny_llama, text_file, tmp_path):
    gguf = tmp_path / "gguf"
    assert run_command(["convert", str(tiny_llama), str(gguf), "--to", "gguf", "-q"]) == 0
    start = str(next(gguf.glob("*.gguf")))
    common = {"config": None, "tokenizer": None, "data": str(text_file), "model": start}
    _, folder = train(**common, max_steps=1)
    assert load_tokenizer(folder).encode("the cat") == load_tokenizer(tiny_llama).encode("the cat")


def retyped(folder: Path, target: Path, dtype: torch.dtype) -> Path:
    save_model(load_model(folder), target, dtype=dtype, tokenizer_from=folder)
    return target


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_written_as_the_start_has_them(train, tiny_llama, text_file, tmp_path, dtype):
    start = retyped(tiny_llama, tmp_path / "start", getattr(torch, dtype))
    common = {"config": None, "tokenizer": None, "data": str(text_file), "model": str(start)}
    result, folder = train(**common, max_steps=1)
    assert {weights(folder).dtype, weights(start).dtype} == {getattr(torch, dtype)}
    assert result.dtype == dtype
    _, other = train(**common, max_steps=1, dtype="float32")
    assert weights(other).dtype == torch.float32


def test_weights_beyond_float16_are_not_written_as_infinity(
    train, tiny_llama, text_file, tmp_path, capsys
):
    start = retyped(tiny_llama, tmp_path / "start", torch.float16)
    values = {"optimizer": {"lr": 1e5}, "schedule": {"name": "constant"}, "max_steps": 1}
    common = {"config": None, "tokenizer": None, "data": str(text_file), "model": str(start)}
    result, folder = train(**common, **values)
    assert result.dtype == "float32" and weights(folder).isfinite().all()
    assert "too large for float16" in capsys.readouterr().err


def test_the_rate_is_said_and_one_that_ruins_a_pretrained_model_is_warned_of(
    make_spec, tiny_llama, text_file, tmp_path, capsys
):
    common = {"config": None, "tokenizer": None, "data": str(text_file), "model": str(tiny_llama)}

    def said(name, **changes) -> str:
        folder = tmp_path / name
        folder.mkdir()
        result = run(make_spec(**common, **changes), Job(Console(), folder))
        said = capsys.readouterr().err
        assert f"learning rate {result.learning_rate:g}" in said
        return said

    assert "5e-05 after 1 steps of warm-up" in (low := said("low"))
    assert "bears" not in low
    assert "far above what a pretrained model bears" in said("high", optimizer={"lr": 1e-3})


def test_every_row_of_the_vocabulary_that_texts_use_is_trained(train, tiny_llama, text_file):
    """Also of a model whose pad token is the one that ends texts."""
    folder = tiny_llama.parent / "padded"
    shutil.copytree(tiny_llama, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    used = load_tokenizer(folder).encode("the")[0]
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": used}))
    common = {"config": None, "tokenizer": None, "data": str(text_file), "model": str(folder)}
    quiet = {"name": "adamw", "weight_decay": 0.0, "lr": 1e-2}
    _, trained = train(**common, max_steps=2, optimizer=quiet)
    name = "model.embed_tokens.weight"
    before, after = (open_tensors(place)[name][used] for place in (folder, trained))
    assert not torch.equal(before, after)


def test_a_new_model_pads_with_no_token_that_texts_use(make_spec, texts):
    """Whatever its family pads with by default: that is a token of another vocabulary."""
    keys = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    tokenizer = load_tokenizer(texts / "tokenizer")
    for kind in ("cohere", "gemma", "mamba", "phi3"):
        chosen = keys if kind != "mamba" else {"hidden_size": 16}
        config = new_config({"model_type": kind, **chosen}, tokenizer)
        assert config.pad_token_id is None
        assert type(config)(**{}).pad_token_id is not None, "else it shows nothing"


def test_validation_documents_that_are_trained_on_are_counted(make_spec, texts, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    spec = make_spec(validation=str(texts / "train.jsonl"), max_steps=1)
    run(spec, Job(folder=tmp_path / "out"))
    assert "8 of the validation documents are trained on" in capsys.readouterr().err


def test_keep_best_writes_the_weights_of_the_best_validation(train, texts):
    wild = {
        "validation": str(texts / "validation.jsonl"),
        "validate_every": 1,
        "max_steps": 8,
        "optimizer": {"lr": 0.5},
        "schedule": {"name": "constant"},
    }
    best, folder = train(**wild, keep="best")
    last, last_folder = train(**wild)
    assert best.best_step == last.best_step < 8, "the rate was meant to be too high"
    _, short_folder = train(**{**wild, "max_steps": best.best_step})
    assert torch.equal(weights(folder), weights(short_folder))
    assert not torch.equal(weights(folder), weights(last_folder))


@pytest.mark.parametrize(
    "key",
    [
        {"sequence_length": 8},
        {"batch_size": 2},
        {"gradient_accumulation": 2},
        {"optimizer": {"lr": 2e-3}},
        {"optimizer": {"betas": [0.5, 0.5]}},
        {"optimizer": {"eps": 1e-2}},
        {"optimizer": {"weight_decay": 0.9}},
        {"optimizer": {"name": "adamw-8bit"}},
        {"schedule": {"name": "linear"}},
        {"schedule": {"warmup_steps": 3}},
        {"schedule": {"final_ratio": 0.9}},
        {"clip_norm": 1e-9},
        {"bpe_dropout": 0.3},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_every_key_of_the_training_changes_the_weights(train, key, monkeypatch):
    monkeypatch.setattr("tfcli.devices.has_bf16", lambda device: True)
    assert not torch.equal(weights(train(**key)[1]), plain(train))


PLAIN: list[torch.Tensor] = []


def plain(train) -> torch.Tensor:
    if not PLAIN:
        PLAIN.append(weights(train()[1]))
    return PLAIN[0]


def test_the_text_field_is_the_one_that_is_read(train, tmp_path):
    lines = [json.dumps({"text": "no", "body": "a cat and a dog " * 20}) for _ in range(3)]
    (tmp_path / "other.jsonl").write_text("\n".join(lines))
    result, _ = train(data=str(tmp_path / "other.jsonl"), text_field="body", max_steps=1)
    assert result.tokens > 0


def test_dtype_is_that_of_the_written_weights(train):
    _, folder = train(dtype="bfloat16")
    assert weights(folder).dtype == torch.bfloat16
    torch.testing.assert_close(weights(folder).float(), plain(train), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    "key", [{"attention": "eager"}, {"activation_checkpointing": True}], ids=str
)
def test_keys_that_change_how_but_not_what_is_computed(train, key):
    torch.testing.assert_close(weights(train(**key)[1]), plain(train), rtol=1e-3, atol=1e-4)


def test_attention_and_checkpointing_reach_the_model(make_spec, texts):
    def model(**changes):
        spec = make_spec(**changes)
        config = new_config(spec.config, load_tokenizer(texts / "tokenizer"))
        return build_model(spec, config, None, "causal-lm", Single(ALONE), Console.silent())

    usual, other = model(), model(attention="eager", activation_checkpointing=True)
    assert usual.model.layers[0].self_attn.attend.backend.__name__ == "sdpa"
    assert other.model.layers[0].self_attn.attend.backend.__name__ == "eager"
    assert (usual.checkpointing, other.checkpointing) == (False, True)


def test_a_compiled_model_trains_to_the_same_weights(train, texts, monkeypatch):
    """With dynamo's own eager backend, which traces as the real one does and needs no compiler."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compile_with, backend))
    common = {"validation": str(texts / "validation.jsonl"), "validate_every": 1, "max_steps": 3}
    _, folder = train(**common, compile=True)
    assert len(graphs) == 1, "a later step or validation compiled again"
    torch.testing.assert_close(weights(folder), weights(train(**common)[1]))


def compile_with(module, backend):
    module._compiled_call_impl = torch.compile(module._call_impl, backend=backend)


def test_checkpoints_are_made_as_often_as_asked(train):
    def made(every: int) -> set[str]:
        _, folder = train(checkpoint_every=every)
        return {path.name for path in folder.glob("checkpoint-*")}

    assert made(2) == {"checkpoint-2", "checkpoint-4"}
    assert made(5) == {"checkpoint-5"}
    assert made(0) == set()


def test_the_vocabulary_and_special_tokens_come_from_the_tokenizer(make_spec, texts):
    tokenizer = load_tokenizer(texts / "tokenizer")
    config = new_config(make_spec().config, tokenizer)
    assert config.vocab_size == tokenizer.vocab_size
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 0, None)
    padded = new_config({**make_spec().config, "vocab_size": 512}, tokenizer)
    assert padded.vocab_size == 512


def test_a_new_model_has_the_chat_template_and_ends_where_a_turn_does(train, texts, tmp_path):
    """Documents end as without a template: `<|endoftext|>` is the EOS, and begins the next one."""
    tokenizer = ["tokenizer", str(texts / "train.jsonl"), str(tmp_path / "tok")]
    assert run_command([*tokenizer, "--vocab-size", "300", "-q"]) == 0
    _, folder = train(tokenizer=str(tmp_path / "tok"))
    template = (folder / "chat_template.jinja").read_text()
    assert template == CHATML == load_tokenizer(folder).chat_template
    config, generation = (
        json.loads((folder / name).read_text())
        for name in ("config.json", "generation_config.json")
    )
    assert (config["bos_token_id"], config["eos_token_id"]) == (0, 0)
    ids = {"bos_token_id": 0, "eos_token_id": [0, 2], "pad_token_id": 0}
    assert generation == ids
    stream = token_stream(["one", "two"], load_tokenizer(folder))
    assert (stream == 0).sum() == 3 and 2 not in stream


def refused(spec: TrainSpec) -> Problem:
    with pytest.raises(UsageError) as error:
        execute(spec, Console.silent())
    output = Path(spec.output)
    assert not list(output.parent.glob(f"*{output.name}*")), "nothing is left of it"
    return error.value


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(make_spec):
    problem = refused(make_spec(config={**make_spec().config, "vocab_size": 200}))
    assert "200 embeddings" in problem.what and problem.where == "config.vocab_size"


@pytest.mark.parametrize("method", ["rtn", "hqq", "bnb"])
def test_a_quantized_model_is_refused_and_a_dequantized_one_is_trained(
    make_spec, tiny_llama, text_file, tmp_path, method
):
    folder, dense = str(tmp_path / "q"), str(tmp_path / "dense")
    assert run_command(["quantize", str(tiny_llama), folder, "--method", method, "-q"]) == 0
    options = {"config": None, "tokenizer": None, "data": str(text_file), "max_steps": 1}
    problem = refused(make_spec(model=folder, **options))
    assert problem.where == "model" and "tfcli dequantize" in (problem.fix or "")
    assert "packed weights cannot be trained" in problem.what
    assert run_command(["dequantize", folder, dense, "--dtype", "float32", "-q"]) == 0
    execute(make_spec(model=dense, **options), Console.silent())
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(open_tensors(tmp_path / "out")[name], open_tensors(Path(dense))[name])


def test_windows_longer_than_the_models_positions_are_refused(make_spec):
    problem = refused(make_spec(sequence_length=65))
    assert problem.where == "sequence_length" and problem.fix == "at most 64"


def test_a_text_shorter_than_a_window_is_refused(make_spec, tmp_path):
    (tmp_path / "short.txt").write_text("a cat")
    problem = refused(make_spec(data=str(tmp_path / "short.txt")))
    assert problem.where == "data" and "one window takes 17" in problem.what


def test_missing_data_is_refused(make_spec):
    assert refused(make_spec(data="nowhere.jsonl")).where == "data"


def test_a_missing_device_is_refused(make_spec, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refused(make_spec(device="cuda")).where == "device"


def test_bf16_without_its_instructions_is_refused_and_auto_falls_back(
    make_spec, train, monkeypatch
):
    monkeypatch.setattr(processor, "has_products", lambda dtype: False)
    assert refused(make_spec(precision="bfloat16")).where == "precision"
    assert train(precision="auto")[0].precision == "float32"
    monkeypatch.setattr(processor, "has_products", lambda dtype: True)
    assert train(precision="auto", max_steps=1)[0].precision == "bfloat16"


def test_the_8_bit_optimizer_without_its_library_is_refused(make_spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert refused(make_spec(optimizer={"name": "adamw-8bit"})).where == "optimizer.name"


def test_flex_attention_is_refused_where_it_cannot_train(make_spec):
    assert refused(make_spec(attention="flex")).where == "attention"


def test_compiling_without_a_compiler_is_refused(make_spec, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert refused(make_spec(compile=True)).where == "compile"


def test_transformers_is_not_imported():
    import subprocess

    code = "import sys, tfcli.train.run; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_trained_model_has_a_card_with_the_hashes_of_its_inputs(make_spec, tmp_path):
    output = tmp_path / "out"
    spec = make_spec(max_steps=2, output=str(output))
    result = execute(spec, Console.silent()).result
    card = (output / "README.md").read_text()
    record = json.loads((output / "run.json").read_text())
    assert record["inputs"] and all(digest in card for digest in record["inputs"].values())
    assert f"{result.steps} of" in card and "read back and equal" in card
    assert str(tmp_path) not in card
