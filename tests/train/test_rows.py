"""Whole runs on rows: chats, completions, packs, and what is held out."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tfcli.checkpoints.folder import load_model
from tfcli.commands.app import run as run_command
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.job import Job
from tfcli.tokenizers.chat import encode_chat
from tfcli.tokenizers.load import load_tokenizer
from tfcli.train.assemble import assemble
from tfcli.train.log import read_metrics
from tfcli.train.run import run


@pytest.fixture
def on_chats(make_spec, chats):
    """A function that gives the small spec on conversations, with some keys changed."""

    def make(**changes):
        values = {
            "tokenizer": str(chats / "tokenizer"),
            "data": str(chats / "train.jsonl"),
            "sequence_length": 63,
        }
        return make_spec(**{**values, **changes})

    return make


@pytest.fixture
def train(tmp_path):
    """A function that runs a spec in a folder of its own."""
    count = 0

    def do(spec):
        nonlocal count
        count += 1
        folder = tmp_path / f"run{count}"
        folder.mkdir()
        return run(spec, Job(folder=folder)), folder

    return do


def losses(folder) -> list[float]:
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]


def parts(spec, tmp_path):
    """The parts of a run that is not started."""
    return assemble(spec, Job(folder=tmp_path)).loop


def test_a_model_learns_what_the_assistant_says_and_stops(on_chats, train, chats, tmp_path):
    """One conversation by heart: the answer, and the token that ends it."""
    line = (chats / "train.jsonl").read_text().splitlines()[0]
    talk = json.loads(line)["messages"]
    (tmp_path / "one.jsonl").write_text(line)
    result, folder = train(
        on_chats(data=str(tmp_path / "one.jsonl"), max_steps=120, optimizer={"lr": 3e-2})
    )
    assert result.train_loss < 0.1
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    prompt = encode_chat(tokenizer, talk[:1], add_generation_prompt=True).ids
    answer = [*tokenizer.encode(talk[1]["content"], False), tokenizer.special_ids["eot_token"]]
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        said = model.eval()(input_ids=ids).logits[0].argmax(-1)
    assert said[len(prompt) - 1 : -1].tolist() == answer
    assert said[: len(prompt) - 1].tolist() != prompt[1:], "the question is not learned"


def test_the_tokens_that_are_trained_on_are_those_of_the_assistant(on_chats, train):
    masked, _ = train(on_chats(epochs=2, max_steps=None))
    everything, _ = train(on_chats(epochs=2, max_steps=None, rows={"train_on": "all"}))
    assert masked.epochs == everything.epochs == 2.0
    assert masked.steps == everything.steps == 10
    assert 0 < masked.tokens < everything.tokens / 2


def test_packs_have_the_targets_of_single_rows_in_fewer_steps(on_chats, tmp_path):
    single, packed = (
        parts(on_chats(epochs=1, max_steps=None, rows={"packing": packing}), tmp_path)
        for packing in (False, True)
    )
    assert packed.length.steps < single.length.steps
    targets = [
        sorted(int(id) for each in loop.feed.source.part(0) for id in each["targets"])
        for loop in (single, packed)
    ]
    assert targets[0] == targets[1]


def test_a_run_on_packs_is_the_same_again_and_resumed(on_chats, train, tmp_path):
    spec = on_chats(max_steps=8, rows={"packing": True}, checkpoint_every=3)
    _, straight = train(spec)

    class StopError(Exception):
        pass

    folder = tmp_path / "resumed"
    folder.mkdir()
    made = assemble(spec, Job(folder=folder))
    step = made.loop.train_step

    def until_five(number, *rest):
        if number == 5:
            raise StopError
        return step(number, *rest)

    made.loop.train_step = until_five
    with pytest.raises(StopError):
        made.loop.run(made.progress)
    made.loop.callbacks.end()
    result = run(spec, Job(folder=folder))
    assert result.resumed_from == 3
    assert losses(folder) == losses(straight)


def test_rows_of_like_length_fill_less_up(on_chats, tmp_path, chats):
    spec = on_chats(batch_size=5, data=str(chats / "train.jsonl"))
    grouped = on_chats(batch_size=5, rows={"group_by_length": True})

    def sizes(spec):
        feed = parts(spec, tmp_path).feed
        return sum(feed.step(number)[0]["input_ids"].numel() for number in range(4))

    assert sizes(grouped) < sizes(spec)


def test_a_compiled_model_gets_rows_of_one_length(on_chats, tmp_path, monkeypatch):
    monkeypatch.setattr("tfcli.train.assemble.compile_model", lambda model, first: None)
    feed = parts(on_chats(compile=True), tmp_path).feed
    assert {feed.step(number)[0]["input_ids"].shape for number in range(3)} == {(4, 63)}


def test_validation_rows_are_measured_and_those_that_are_trained_on_are_told(
    on_chats, train, chats, capsys
):
    result, _ = train(on_chats(validation=str(chats / "validation.jsonl")))
    assert result.validation_loss > 0
    assert "trained on as well" not in capsys.readouterr().err
    train(on_chats(validation=str(chats / "train.jsonl")))
    said = " ".join(capsys.readouterr().err.split())
    assert "20 of the validation rows are trained on as well" in said


def test_what_is_held_out_is_not_trained_on(on_chats, tmp_path, chats):
    twice = tmp_path / "twice.jsonl"
    twice.write_text(
        (chats / "train.jsonl").read_text() + "\n" + (chats / "train.jsonl").read_text()
    )
    loop = parts(on_chats(data=str(twice), validation_share=0.1), tmp_path)
    rows = [each["input_ids"].tolist() for each in loop.feed.source.part(0)]
    apart = [each["input_ids"].tolist() for each in loop.validation.examples]
    assert (len(rows), len(apart)) == (36, 4)
    assert not [one for one in apart if one in rows]


def test_documents_are_held_out_of_plain_text(make_spec, tmp_path):
    loop = parts(make_spec(validation_share=0.25), tmp_path)
    whole = parts(make_spec(), tmp_path)

    def tokens(windows):
        return sum(len(each["targets"]) for each in windows)

    apart = tokens(loop.validation.examples)
    assert 0 < apart < tokens(loop.feed.source.part(0))
    # Each of two streams lacks one target, and has an EOS of its own at its end.
    assert apart + tokens(loop.feed.source.part(0)) == tokens(whole.feed.source.part(0))


def test_epochs_are_steps_once_the_data_is_read(on_chats, tmp_path):
    with pytest.raises(
        UsageError, match="7 steps of warm-up are more than the 5 steps of 1 epochs"
    ):
        parts(on_chats(epochs=1, max_steps=None, schedule={"warmup_steps": 7}), tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4},
        {"model_type": "rwkv", "hidden_size": 16, "num_hidden_layers": 1},
    ],
)
def test_packs_are_refused_for_models_that_carry_a_state(on_chats, tmp_path, config, monkeypatch):
    monkeypatch.setattr("tfcli.train.assemble.build_model", None)  # it is not come to that
    spec = on_chats(config=config, rows={"packing": True})
    with pytest.raises(UsageError, match=f"{config['model_type']} takes no packed rows") as error:
        parts(spec, tmp_path)
    assert error.value.where == "rows.packing"


def test_rows_are_not_tokenized_anew_each_epoch(on_chats, tmp_path):
    with pytest.raises(UsageError, match="tokenized once"):
        parts(on_chats(bpe_dropout=0.1), tmp_path)


def test_plain_text_is_no_validation_for_rows(on_chats, texts, tmp_path):
    with pytest.raises(UsageError, match="the validation is plain text"):
        parts(on_chats(validation=str(texts / "validation.jsonl")), tmp_path)


def test_a_bad_row_is_an_error_before_a_model_is_made(on_chats, chats, tmp_path, monkeypatch):
    monkeypatch.setattr("tfcli.train.assemble.build_model", None)
    path = tmp_path / "bad.jsonl"
    shutil.copy(chats / "train.jsonl", path)
    with path.open("a") as file:
        file.write('\n{"messages": [{"role": "user", "content": 3}]}')
    with pytest.raises(WorkError, match="content is a value of type int") as error:
        parts(on_chats(data=str(path)), tmp_path)
    assert error.value.where.startswith(f"{path}:21, messages[0]")


def test_a_recipe_names_columns(tmp_path, chats, capsys):
    lines = [json.dumps({"q": f"cat {n}?", "a": " sat on a mat"}) for n in range(9)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    recipe = {
        "command": "train",
        "output": str(tmp_path / "out"),
        "config": {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32,
                   "num_hidden_layers": 1, "num_attention_heads": 2},
        "tokenizer": str(chats / "tokenizer"),
        "data": str(tmp_path / "rows.jsonl"),
        "columns": {"prompt": "q", "completion": "a"},
        "max_steps": 2,
        "device": "cpu",
    }  # fmt: skip
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    assert run_command(["train", str(tmp_path / "r.yaml"), "--json"]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["steps"] == 2
    assert "9 rows of the format completion" in " ".join(out.err.split())
