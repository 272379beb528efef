"""Training adapters and parts of models: what is trained, written, resumed, run and refused."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.train.test_ranks import CHILD, in_processes
from tfcli.adapters.read import read_adapter
from tfcli.checkpoints.folder import load_model, open_model, save_model
from tfcli.checkpoints.hf.safetensors import SafetensorsFile
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.commands.app import run as run_command
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.models import processor
from tfcli.models.quantized import packed_linears
from tfcli.recipe.execute import execute
from tfcli.recipe.job import Job
from tfcli.train.adapter import shape_trained
from tfcli.train.callbacks.metrics import MetricsFile
from tfcli.train.log import read_metrics
from tfcli.train.loop import Loop
from tfcli.train.run import run

IDS = torch.tensor([[0, 40, 41, 42, 43, 44]])
PACKED = {
    "nf4": ["--method", "bnb", "--quant-type", "nf4"],
    "int8": ["--method", "bnb", "--bits", "8"],
    "gptq": ["--method", "rtn", "--group-size", "32"],
    "awq": ["--method", "rtn", "--group-size", "32", "--layout", "awq"],
    "hqq": ["--method", "hqq", "--group-size", "32"],
}


@pytest.fixture
def adapt(make_spec, tiny_llama, text_file):
    """A function that gives the spec of an adapter on the tiny llama, with some keys changed."""

    def make(adapter="lora", **changes):
        common = {"config": None, "tokenizer": None, "data": str(text_file)}
        given = {**common, "model": str(tiny_llama), "adapter": adapter, **changes}
        return make_spec(**{key: value for key, value in given.items() if value != {}})

    return make


@pytest.fixture
def train(adapt, tmp_path):
    """A function that trains it in a folder of its own: the result and the folder."""
    count = 0

    def do(adapter="lora", **changes):
        nonlocal count
        count += 1
        folder = tmp_path / f"adapter{count}"
        folder.mkdir()
        spec = adapt(adapter, output=str(folder), **changes)
        return run(spec, Job(folder=folder)), folder

    return do


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    source = open_tensors(next(iter(folder.glob("*model.safetensors"))))
    return {name: source[name] for name in source}


def config(folder: Path) -> dict:
    return json.loads((folder / "adapter_config.json").read_text())


def answer(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def refused(spec) -> UsageError:
    with pytest.raises(UsageError) as error:
        execute(spec, Console.silent())
    output = Path(spec.output)
    assert not list(output.parent.glob(f"*{output.name}*")), "nothing is left of it"
    return error.value


def test_the_result_is_an_adapter_in_pefts_form_with_a_tokenizer_and_a_card(train, tiny_llama):
    result, folder = train(max_steps=20)
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "metrics.jsonl",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert losses(folder)[-1] < losses(folder)[0]
    assert result.trainable == sum(tensor.numel() for tensor in tensors(folder).values())
    base = load_model(tiny_llama)
    assert result.parameters == result.trainable + sum(p.numel() for p in base.parameters())
    assert (result.learning_rate, result.dtype) == (2e-4, "float32")
    card = (folder / "README.md").read_text()
    assert "an adapter trained on it" in card and f"{result.trainable:,} trained" in card
    assert config(folder)["base_model_name_or_path"] == str(tiny_llama)


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "lora", "rslora": True},
        {"type": "lora", "dora": True},
        {"type": "lora", "start": "pissa"},
        {"type": "lora", "target_modules": ["q_proj", "embed_tokens"]},
        {"type": "lora", "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"type": "ia3", "feedforward_modules": ["down_proj"]},
        {"type": "adalora", "rank": 6, "target_rank": 2},
        {"type": "prefix-tuning", "virtual_tokens": 4},
        {"type": "prompt-tuning", "virtual_tokens": 4},
        {"type": "p-tuning", "virtual_tokens": 4},
        {"type": "p-tuning", "virtual_tokens": 4, "encoder": "lstm", "encoder_dropout": 0.5},
    ],
)
def test_what_is_trained_here_runs_in_peft(train, tiny_llama, adapter):
    import peft
    import transformers

    _, folder = train(adapter, optimizer={"lr": 1e-2})
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama)
    plain = answer(base)
    theirs = answer(peft.PeftModel.from_pretrained(base, folder).eval())[:, -IDS.shape[1] :]
    assert (theirs - plain).abs().max() > 1e-2
    torch.testing.assert_close(answer(load_model(folder)), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "lora"},
        {"type": "lora", "dora": True},
        {"type": "lora", "target_modules": ["q_proj"], "modules_to_save": ["up_proj"]},
        {"type": "ia3"},
    ],
)
def test_a_frozen_base_in_16_bits_stays_so_and_costs_no_bit_of_the_result(
    train, tiny_llama, tmp_path, monkeypatch, adapter
):
    """Where products are in bfloat16, they cast float32 weights to it in any case."""
    monkeypatch.setattr(processor, "has_products", lambda dtype: True)
    base = tmp_path / "half"
    save_model(load_model(tiny_llama), base, dtype=torch.bfloat16, tokenizer_from=tiny_llama)
    common = {"model": str(base), "precision": "bfloat16", "optimizer": {"lr": 1e-2}}
    held, step = [], Loop.train_step

    def watch(self, number, batches, seconds):
        layer = self.model.blocks[0].mlp.up_proj.base_layer
        held.append((layer.weight.dtype, self.model.model.norm.weight.dtype))
        return step(self, number, batches, seconds)

    monkeypatch.setattr(Loop, "train_step", watch)
    _, narrow = train(adapter, **common)
    monkeypatch.setattr("tfcli.train.prepare.held_dtype", lambda *_: torch.float32)
    _, wide = train(adapter, **common)
    kinds = [(torch.bfloat16, torch.float32), (torch.float32, torch.float32)]
    assert [held[0], held[-1]] == kinds
    assert losses(narrow) == losses(wide)
    assert all(torch.equal(tensors(wide)[name], each) for name, each in tensors(narrow).items())


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_base_keeps_its_bits_while_an_adapter_on_it_learns(
    train, adapt, tiny_llama, tmp_path, kind, monkeypatch
):
    base = tmp_path / kind
    assert run_command(["quantize", str(tiny_llama), str(base), *PACKED[kind], "-q"]) == 0
    seen = {}
    step = Loop.train_step

    def watch(self, number, batches, seconds):
        seen.update({name: each.parts for name, each in packed_linears(self.model).items()})
        return step(self, number, batches, seconds)

    monkeypatch.setattr(Loop, "train_step", watch)
    result, folder = train(model=str(base), max_steps=30, optimizer={"lr": 1e-3})
    assert losses(folder)[-1] < losses(folder)[0] - 0.1
    assert result.parameters > 14 * 64 * 64 > result.trainable
    packed = packed_linears(load_model(base))
    assert len(seen) == len(packed) == 14
    for name, layer in packed.items():
        for part, tensor in layer.parts.items():
            assert torch.equal(seen[f"{name}.base_layer"][part], tensor), (name, part)
    # The folder opens as this base with this adapter.
    model = load_model(base)
    read_adapter(model, folder)
    assert torch.equal(answer(load_model(folder)), answer(model))


def test_a_packed_base_is_unpacked_once_more_for_the_gradient(tiny_llama, tmp_path):
    """Kept from the forward to the backward pass, all of its dense weights would be in memory."""
    base = tmp_path / "base"
    assert run_command(["quantize", str(tiny_llama), str(base), *PACKED["gptq"], "-q"]) == 0
    layer = next(iter(packed_linears(load_model(base)).values()))
    x = torch.randn(3, layer.in_features, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        out = layer(x)
    assert not kept
    out.sum().backward()
    torch.testing.assert_close(x.grad, layer.dequantize().sum(0).expand_as(x))


def test_a_base_that_is_packed_while_it_is_loaded_is_the_folder_that_quantize_makes(
    train, adapt, tiny_llama, tmp_path
):
    base = tmp_path / "base"
    assert run_command(["quantize", str(tiny_llama), str(base), *PACKED["nf4"], "-q"]) == 0
    (_, first), (_, second) = train(model=str(base)), train(load_in="nf4")
    found, expected = tensors(second), tensors(first)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert config(second)["base_model_name_or_path"] == str(tiny_llama)
    with pytest.raises(ValueError, match="packed weights are trained by an adapter"):
        adapt({}, load_in="nf4")
    again = refused(adapt(model=str(base), load_in="nf4", output=str(tmp_path / "again")))
    assert "quantized already" in again.what


RESUMED = {
    "lora": {"type": "lora", "dropout": 0.2, "modules_to_save": ["norm"]},
    "pissa": {"type": "lora", "start": "pissa", "lr_ratio": 4},
    "dora": {"type": "lora", "dora": True},
    "ia3": {"type": "ia3"},
    "adalora": {"type": "adalora", "rank": 4, "target_rank": 2, "tinit": 2, "deltaT": 3},
    "prefix": {"type": "prefix-tuning", "virtual_tokens": 3},
    "lstm": {"type": "p-tuning", "virtual_tokens": 3, "encoder": "lstm", "encoder_dropout": 0.3},
}


@pytest.mark.parametrize("kind", RESUMED)
def test_an_interrupted_run_ends_in_the_bits_of_a_straight_one(
    adapt, texts, text_file, tmp_path, monkeypatch, kind
):
    common = {"max_steps": 12, "checkpoint_every": 4, "keep": "best", "validate_every": 3}

    def spec(name):
        output = str(tmp_path / name)
        return adapt(RESUMED[kind], output=output, validation=str(text_file), **common)

    straight = execute(spec("straight"), Console.silent()).result
    write = MetricsFile.finished

    def write_and_interrupt(self, figures, due):
        write(self, figures, due)
        if figures["step"] == 6:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "finished", write_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(spec("resumed"), Console.silent())
    stored = next(tmp_path.glob(".resumed.partial/checkpoint-6/weights-00000.safetensors"))
    assert not any("embed_tokens" in name for name in SafetensorsFile(stored).tensors)
    resumed = execute(spec("resumed"), Console.silent()).result
    assert resumed.resumed_from == 6
    same = {"tokens_per_second", "seconds", "resumed_from"}
    assert resumed.model_dump(exclude=same) == straight.model_dump(exclude=same)
    first, second = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes()
        for name in ("straight", "resumed")
    )
    assert first == second


def test_a_checkpoint_of_another_adapter_is_not_taken_for_this_one(train, adapt, tmp_path):
    from tfcli.train.checkpoint import Checkpoints

    folder = tmp_path / "run"
    folder.mkdir()
    monkey = pytest.MonkeyPatch()
    kept = []
    monkey.setattr(Checkpoints, "load", lambda self, model, *state: kept.append(model))
    run(adapt(output=str(folder), max_steps=2, checkpoint_every=1), Job(folder=folder))
    monkey.undo()
    with pytest.raises(Exception, match="other tensors than the model"):
        other = adapt({"type": "lora", "target_modules": ["q_proj"]}, max_steps=2)
        run(other, Job(folder=folder))


EFFECTS = {
    "rank": {"rank": 4},
    "r": {"r": 4},
    "alpha": {"alpha": 64},
    "rslora": {"use_rslora": True},
    "dropout": {"lora_dropout": 0.5},
    "dora": {"use_dora": True},
    "start": {"init_lora_weights": "gaussian"},
    "target_modules": {"target_modules": ["q_proj"]},
    "exclude_modules": {"exclude_modules": ["q_proj"]},
    "layers": {"layers_to_transform": [1]},
    "modules_to_save": {"modules_to_save": ["norm"]},
    "lr_ratio": {"lr_ratio": 16},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The tensors of the adapter without any of these keys, once they are made."""
    return {}


@pytest.mark.parametrize("key", EFFECTS)
def test_each_key_changes_what_is_written(train, plain, key):
    common = {"max_steps": 3, "optimizer": {"lr": 1e-3}}
    if not plain:
        plain.update(tensors(train(**common)[1]))
    _, folder = train({"type": "lora", **EFFECTS[key]}, **common)
    found = tensors(folder)
    assert found.keys() != plain.keys() or any(
        found[name].shape != plain[name].shape or not torch.equal(found[name], plain[name])
        for name in plain
    )


MOVED = {
    "target_rank": {"target_r": 1},
    "first_steps": {"tinit": 3},
    "last_steps": {"tfinal": 3},
    "allocate_every": {"deltaT": 4},
    "betas": {"betas": [0.1, 0.1]},
    "orthogonality": {"orth_reg_weight": 0},
}


@pytest.mark.parametrize("key", MOVED)
def test_each_key_of_adalora_changes_what_is_written(train, key):
    if not ADAPTIVE:
        ADAPTIVE.update(tensors(train(RANKS, **QUICK)[1]))
    found = tensors(train({**RANKS, **MOVED[key]}, **QUICK)[1])
    assert found.keys() == ADAPTIVE.keys()
    assert any(
        found[name].shape != each.shape or not torch.equal(found[name], each)
        for name, each in ADAPTIVE.items()
    )


RANKS = {"type": "adalora", "init_r": 6, "target_r": 3}
QUICK = {"max_steps": 8, "optimizer": {"lr": 1e-2}}
ADAPTIVE: dict[str, torch.Tensor] = {}


@pytest.mark.parametrize(
    ("adapter", "changes", "said"),
    [
        ("prefix-tuning", {"activation_checkpointing": True}, "activation_checkpointing does not"),
        ("prompt-tuning", {"compile": True}, "compile does not go with"),
        ({"type": "p-tuning", "encoder_layers": 3}, {}, "no effect with encoder: mlp"),
        (
            {"type": "p-tuning", "encoder": "LSTM", "encoder_layers": 1, "encoder_dropout": 0.1},
            {},
            "between the layers",
        ),
        ("p-tuning", {"strategy": "fsdp"}, "learns through what blocks keep"),
        ({"type": "prompt-tuning", "r": 4}, {}, "adapter.rank"),
        ({"type": "lora", "num_virtual_tokens": 4}, {}, "virtual_tokens"),
        ({"type": "adalora", "r": 4, "target_r": 5}, {}, "is more than rank"),
        ({"type": "adalora", "betas": [1.0, 0.5]}, {}, "not between 0 and 1"),
        ("adalora", {"strategy": "zero2"}, "looks at whole gradients"),
    ],
)
def test_keys_that_do_not_go_together_are_named(adapt, adapter, changes, said):
    with pytest.raises(ValidationError, match=said):
        adapt(adapter, **changes)


def test_virtual_tokens_take_positions(adapt):
    problem = refused(adapt({"type": "prompt-tuning", "virtual_tokens": 120}))
    assert "beside 120 virtual tokens, the model has 128 positions" in problem.what


def test_virtual_tokens_are_learned_and_run_in_generate_and_eval(
    train, tiny_llama, text_file, capsys
):
    _, folder = train({"type": "prefix-tuning"}, optimizer={"lr": 1.0}, max_steps=30)
    found = []
    for model in (tiny_llama, folder):
        words = ["eval", str(model), "--data", str(text_file), "--window", "32", "--json"]
        assert run_command(words) == 0
        found.append(json.loads(capsys.readouterr().out)["loss"])
    assert found[1] < found[0] - 0.2
    generated = ["generate", str(folder), "The lexical", "--max-new-tokens", "3", "--json"]
    assert run_command(generated) == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(folder)


def test_the_spellings_of_peft_are_the_same_keys(train):
    ours = {"type": "lora", "rank": 4, "alpha": 8, "rslora": True, "start": "default"}
    theirs = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "use_rslora": True,
        "init_lora_weights": True,
    }
    first, second = train(ours)[1], train(theirs)[1]
    assert tensors(first).keys() == tensors(second).keys()
    assert all(torch.equal(tensors(first)[name], each) for name, each in tensors(second).items())
    assert (config(first)["r"], config(first)["lora_alpha"]) == (4, 8)


def test_biases_are_trained_and_written(train, tiny_tokenizer, tmp_path):
    from tests.conftest import make_tiny_llama

    base = make_tiny_llama(tmp_path / "qwen", tiny_tokenizer, model_type="qwen2")
    counts = {
        bias: sum(
            name.endswith(".bias")
            for name in tensors(train({**ADAPTER, "bias": bias}, model=str(base))[1])
        )
        for bias in ("none", "all", "lora_only")
    }
    assert counts == {"none": 0, "all": 2 * 3, "lora_only": 2}


ADAPTER = {"type": "lora", "target_modules": ["q_proj"]}


def test_second_matrices_learn_faster_with_lr_ratio(adapt, tmp_path, monkeypatch):
    rates = {}

    def note(self, step, batches, seconds):
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                rates[names[id(parameter)].rpartition("lora_")[2]] = group["initial_lr"]
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "train_step", note)
    with pytest.raises(KeyboardInterrupt):
        execute(adapt({"type": "lora", "lr_ratio": 16}), Console.silent())
    assert rates == {"A.weight": 2e-4, "B.weight": pytest.approx(32e-4)}


def test_merged_it_is_a_checkpoint_that_answers_as_the_adapter_does(train):
    apart, folder = train(optimizer={"lr": 1e-2})
    merged, whole = train({"type": "lora", "merge": True}, optimizer={"lr": 1e-2})
    assert (whole / "config.json").exists() and not (whole / "adapter_config.json").exists()
    torch.testing.assert_close(
        answer(load_model(whole)), answer(load_model(folder)), rtol=1e-4, atol=1e-4
    )
    assert (merged.trainable, merged.train_loss) == (apart.trainable, apart.train_loss)


def test_generate_eval_and_benchmark_take_the_adapters_folder(
    train, tiny_llama, text_file, tmp_path, capsys
):
    _, folder = train(optimizer={"lr": 1e-2}, max_steps=20)
    losses = []
    for model in (tiny_llama, folder):
        words = ["eval", str(model), "--data", str(text_file), "--window", "32", "--json"]
        assert run_command(words) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert losses[1] < losses[0] - 0.2
    generated = ["generate", str(folder), "The lexical", "--max-new-tokens", "3", "--json"]
    assert run_command(generated) == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(folder)
    few = ["--length", "4", "--case", "prefill", "--repeats", "1", "--rounds", "1", "--json"]
    assert run_command(["benchmark", str(folder), *few]) == 0
    assert json.loads(capsys.readouterr().out)
    assert run_command(["convert", str(folder), str(tmp_path / "converted")]) == 2
    assert "tfcli merge BASE ADAPTER OUTPUT" in capsys.readouterr().err


def test_a_trained_adapter_is_merged_by_tfcli_merge(train, tiny_llama, tmp_path):
    _, folder = train(optimizer={"lr": 1e-2})
    out = tmp_path / "merged"
    assert run_command(["merge", str(tiny_llama), str(folder), str(out), "-q"]) == 0
    torch.testing.assert_close(
        answer(load_model(out)), answer(load_model(folder)), rtol=1e-4, atol=1e-4
    )


def test_an_adapter_runs_on_a_base_that_is_packed_while_it_is_loaded(train):
    from tfcli.quantize.load_in import load_in

    _, folder = train()
    model = load_model(load_in(open_model(folder), "nf4", Console.silent()))
    assert len(packed_linears(model)) == 14
    assert all(name.endswith(".base_layer") for name in packed_linears(model))


@pytest.mark.parametrize(
    ("task", "heads"),
    [
        ("causal-lm", []),
        ("sequence-classification", ["score.weight"]),
        ("token-classification", ["score.weight", "score.bias"]),
    ],
)
def test_a_head_that_classifies_is_trained_whole(adapt, tiny_llama, task, heads):
    model = load_model(tiny_llama, task=task, new_head=True)
    shape_trained(model, adapt(), Console.silent())
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    names = [name.replace("copies.default.", "") for name in trained if "lora" not in name]
    assert names == heads
    assert len(trained) == 2 * 14 + len(heads)


def test_a_tied_head_that_gets_an_adapter_is_said(adapt, capsys):
    execute(adapt({"type": "lora", "target_modules": ["lm_head"]}), Console())
    said = capsys.readouterr().err
    assert "lm_head has the weight of model.embed_tokens too" in said


def test_rates_that_adapters_bear_are_not_warned_of(adapt, capsys):
    spec = {"max_steps": 1}
    execute(adapt(optimizer={"lr": 1e-3}, **spec), Console())
    assert "far above" not in capsys.readouterr().err
    execute(adapt(optimizer={"lr": 2e-3}, output=f"{adapt().output}2", **spec), Console())
    assert "far above" in capsys.readouterr().err


def test_two_processes_train_an_adapter_as_one_does_with_twice_the_batch(adapt, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    common = {"max_steps": 4, "optimizer": {"lr": 1e-3}}
    spec = adapt(batch_size=2, **common).model_dump(mode="json")
    in_processes(2, tmp_path, CHILD, json.dumps(spec), str(two), str(tmp_path))
    run(adapt(batch_size=4, **common), Job(folder=one))
    alone, together = tensors(one), tensors(two)
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("adapter", "where", "said"),
    [
        ({"target_modules": ["q_porj"]}, "adapter.target_modules", "did you mean 'q_proj'?"),
        (
            {"target_modules": ["mlp"]},
            "adapter.target_modules: model.layers.0.mlp",
            "train it whole",
        ),
        ({"modules_to_save": ["nrom"]}, "adapter.modules_to_save", "known:"),
        ({"layers": [9]}, "adapter.target_modules", "exclude fewer"),
        (
            {"rank": 65, "start": "pissa"},
            "adapter.model.layers.0.self_attn.q_proj",
            "start: default",
        ),
    ],
)
def test_what_the_model_has_not_is_named_before_the_work(adapt, adapter, where, said):
    problem = refused(adapt({"type": "lora", **adapter}))
    assert problem.where == where and said in problem.fix


@pytest.mark.parametrize("kind", ["nf4", "gptq"])
def test_a_packed_model_is_trained_with_an_adapter_alone_and_not_merged(
    adapt, tiny_llama, tmp_path, kind
):
    base = tmp_path / "base"
    assert run_command(["quantize", str(tiny_llama), str(base), *PACKED[kind], "-q"]) == 0
    problem = refused(adapt({}, model=str(base)))
    assert "packed weights cannot be trained" in problem.what and "adapter: lora" in problem.fix
    problem = refused(adapt({"type": "lora", "merge": True}, model=str(base)))
    assert problem.where == "adapter.merge" and "--merge-base" in problem.fix
    problem = refused(adapt({"type": "lora", "start": "pissa"}, model=str(base)))
    assert "packed" in problem.what


def test_an_adapter_is_no_start(train, adapt):
    _, folder = train(max_steps=1)
    problem = refused(adapt(model=str(folder)))
    assert "is an adapter" in problem.what and "tfcli merge" in problem.fix


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": {"model_type": "llama"}, "model": None}, "adapter has no effect with no model"),
        ({"adapter": {"rank": 4}}, "rank has no effect with no type"),
        ({"adapter": {"type": "ia3", "rank": 4}}, "rank has no effect with type: ia3"),
        ({"adapter": {"type": "lora", "feedforward_modules": ["x"]}}, "no effect with type: lora"),
        ({"adapter": {"type": "lora", "rank": 4, "r": 4}}, "are one key"),
        ({"adapter": {"type": "lora", "target_modules": "("}}, "no regular expression"),
        ({"adapter": {"type": "lora", "dora": True, "start": "pissa"}}, "leave out one of the two"),
        ({"freeze": ["norm"]}, "leave out freeze and train_only"),
        ({"adapter": "adalora", "strategy": "fsdp"}, "take strategy: ddp"),
        ({"adapter": "prompt-tuning", "strategy": "zero3"}, "take strategy: ddp"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(adapt, changes, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        adapt(changes.pop("adapter", "lora"), **changes)


def moved(folder: Path, base: Path) -> set[str]:
    before, after = open_tensors(base), open_tensors(folder)
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_what_is_frozen_keeps_its_bits(train, tiny_llama):
    result, folder = train({}, freeze=[r"layers\.0\.", "embed_tokens"], optimizer={"lr": 1e-3})
    changed = moved(folder, tiny_llama)
    assert all(".layers.1." in name or name == "model.norm.weight" for name in changed)
    assert len(changed) == 9 + 1
    assert result.trainable == sum(open_tensors(folder)[name].numel() for name in changed)


def test_some_parameters_are_trained_alone(train, tiny_llama):
    _, folder = train({}, train_only=["norm"], freeze=["layers.1"], optimizer={"lr": 1e-3})
    assert moved(folder, tiny_llama) == {
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
    }


@pytest.mark.parametrize(
    ("keys", "where", "said"),
    [
        ({"freeze": ["lyaers"]}, "freeze", "did you mean 'layers'?"),
        ({"train_only": ["embd_tokens"]}, "train_only", "did you mean 'embed_tokens'?"),
        ({"freeze": ["."]}, "freeze", "freeze fewer"),
    ],
)
def test_patterns_for_nothing_are_refused(adapt, keys, where, said):
    problem = refused(adapt({}, **keys))
    assert problem.where == where and said in problem.fix
