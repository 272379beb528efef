"""`tfcli run`: which steps run, which do not, and errors that name the step."""

import json
from pathlib import Path

import pytest

from tfcli import files as files_module
from tfcli.commands.app import run
from tfcli.recipe import content

RECIPE = """\
name: demo
steps:
  text:
    command: data
    source: texts
    validation: 0.2
    test: 0.2
  words:
    command: tokenizer
    data: ${text}/train.jsonl
    vocab_size: 300
  more:
    command: tokenizer
    data: ${text}/test.jsonl
    vocab_size: 300
"""


@pytest.fixture
def tfcli(tmp_path, monkeypatch, capsys):
    """A folder with a recipe and its text; runs a command line there and gives its JSON."""
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    for n in range(8):
        lines = [f"Text {n}, paragraph {m}, says something of its own." for m in range(40)]
        Path(f"texts/{n}.txt").write_text("\n\n".join(lines))
    Path("r.yaml").write_text(RECIPE)

    def call(*words: str, code: int = 0) -> dict:
        capsys.readouterr()
        assert run([*words, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return call


def ran(answer: dict) -> list[str]:
    return [step["step"] for step in answer["steps"] if not step["reused"]]


def test_a_changed_option_runs_its_step_again_and_those_that_read_from_it(tfcli):
    assert ran(tfcli("run", "r.yaml")) == ["text", "words", "more"]
    assert ran(tfcli("run", "r.yaml")) == []
    assert ran(tfcli("run", "r.yaml", "--set", "steps.words.vocab_size=310")) == ["words"]
    assert ran(tfcli("run", "r.yaml", "--set", "steps.text.seed=7")) == ["text", "words", "more"]


def test_only_and_from_choose_the_steps(tfcli):
    tfcli("run", "r.yaml")
    assert ran(tfcli("run", "r.yaml", "--only", "words", "--force")) == ["words"]
    assert ran(tfcli("run", "r.yaml", "--from", "words", "--force")) == ["words", "more"]
    assert ran(tfcli("run", "r.yaml", "--only", "more", "--only", "text", "--force")) == [
        "text",
        "more",
    ]


def test_a_step_alone_needs_what_earlier_steps_would_have_made(tfcli):
    error = tfcli("run", "r.yaml", "--only", "words", code=2)["error"]
    assert (error["code"], error["step"], error["where"]) == ("input.missing", "words", "data")


@pytest.mark.parametrize("flag", ["--only", "--from"])
def test_a_step_that_is_not_there_is_refused_with_the_nearest(tfcli, flag):
    error = tfcli("run", "r.yaml", flag, "word", code=2)["error"]
    assert "no step 'word'" in error["what"] and "did you mean 'words'?" in error["fix"]
    tfcli("run", "r.yaml", "--only", "words", "--from", "text", code=2)


def plans(answer: dict) -> list[str]:
    return [step["plan"] for step in answer["steps"]]


def test_a_dry_run_says_what_the_run_then_does_and_does_nothing(tfcli):
    assert plans(tfcli("run", "r.yaml", "--dry-run")) == ["run", "run", "run"]
    assert not Path("runs").exists()
    tfcli("run", "r.yaml")
    for change in (
        ["--set", "steps.words.vocab_size=310"],
        ["--set", "steps.text.seed=5"],
        ["--only", "more", "--force"],
        [],
    ):
        foreseen = tfcli("run", "r.yaml", "--dry-run", *change)
        again = [s["step"] for s in foreseen["steps"] if s["plan"] != "up to date"]
        assert ran(tfcli("run", "r.yaml", *change)) == again
    Path("runs/demo/words/tokenizer.json").write_text("{}")
    assert plans(tfcli("run", "r.yaml", "--dry-run"))[1] == "run again"


def test_an_error_names_the_step_that_it_came_from(tfcli, capsys):
    Path("texts/0.txt").write_bytes(b"\xff not text")
    error = tfcli("run", "r.yaml", code=1)["error"]
    assert error["step"] == "text"
    run(["run", "r.yaml"])
    assert " step: text" in capsys.readouterr().err


def test_a_recipe_for_one_command_runs_too_and_its_folder_is_not_the_recipes_own(tfcli):
    Path("one.yaml").write_text("command: data\nsource: texts\noutput: out\ntest: 0.2\n")
    assert ran(tfcli("run", "one.yaml")) == ["data"]
    assert ran(tfcli("run", "one.yaml")) == []
    error = tfcli("run", "one.yaml", "--set", "seed=3", code=2)["error"]
    assert (error["code"], error["step"]) == ("output.other_run", "data")
    answer = tfcli("run", "one.yaml", "--output", "there", "--set", "seed=3")
    assert answer["steps"][0]["output"] == "there"


def test_a_file_that_is_no_recipe_says_what_one_is(tfcli):
    Path("no.yaml").write_text("source: texts\n")
    error = tfcli("run", "no.yaml", code=2)["error"]
    assert "a recipe is for one command, or has steps" in error["what"]


def test_an_interrupted_training_of_other_options_gives_way_in_a_recipe(
    tfcli, tiny_llama, text_file
):
    """A recipe owns its folders: a changed step runs again, and needs no --force for all."""
    recipe = {
        "name": "tune",
        "steps": {
            "train": {
                "command": "train",
                "model": str(tiny_llama),
                "data": str(text_file),
                "sequence_length": 16,
                "batch_size": 2,
                "max_steps": 4,
                "checkpoint_every": 1,
            }
        },
    }
    Path("t.json").write_text(json.dumps(recipe))
    spoilt = ["--set", "steps.train.optimizer.lr=1e30", "--set", "steps.train.clip_norm=null"]
    error = tfcli("run", "t.json", *spoilt, code=1)["error"]
    assert error["step"] == "train"
    assert Path("runs/tune/.train.partial").is_dir()
    assert ran(tfcli("run", "t.json")) == ["train"]
    words = ["train", "--model", str(tiny_llama), "--data", str(text_file), "-o", "alone"]
    words += ["--window", "16", "--batch-size", "2", "--max-steps", "4", "--checkpoint-every", "1"]
    tfcli(*words, "--lr", "1e30", "--set", "clip_norm=null", code=1)
    assert tfcli(*words, code=2)["error"]["code"] == "output.interrupted"


def test_what_cannot_be_replaced_is_found_before_the_first_step(tfcli):
    """A folder that tfcli did not make, and files of a user's in one that it would replace."""
    Path("runs/demo/more").mkdir(parents=True)
    Path("runs/demo/more/thesis.txt").write_text("years of work")
    for flags in ([], ["--dry-run"], ["--force"]):
        error = tfcli("run", "r.yaml", *flags, code=2)["error"]
        assert (error["code"], error["step"]) == ("output.not_empty", "more")
    assert not Path("runs/demo/text").exists()
    Path("runs/demo/more/thesis.txt").unlink()
    tfcli("run", "r.yaml")
    Path("runs/demo/more/thesis.txt").write_text("years of work")
    assert ran(tfcli("run", "r.yaml")) == []
    before = Path("runs/demo/text/run.json").read_bytes()
    for flags in (["--set", "steps.text.seed=7"], ["--force"]):
        error = tfcli("run", "r.yaml", *flags, code=2)["error"]
        assert "did not make: thesis.txt" in error["what"]
    assert Path("runs/demo/text/run.json").read_bytes() == before
    assert ran(tfcli("run", "r.yaml", "--set", "steps.words.vocab_size=310")) == ["words"]


@pytest.mark.parametrize("command", [["run", "r.yaml"], ["run", "r.yaml", "--dry-run"]])
def test_a_full_check_reads_what_this_machine_has_hashed_before(tfcli, monkeypatch, command):
    tfcli("run", "r.yaml")
    files = [*Path("texts").iterdir(), *Path("runs/demo/text").glob("*.jsonl")]
    read = []
    real = files_module.read_digest

    def counted(path, *, anew=False):
        read.extend([path.name] * anew)
        return real(path, anew=anew)

    for module in (files_module, content):
        monkeypatch.setattr(module, "read_digest", counted)
    tfcli(*command)
    assert read == []
    tfcli(*command, "--verify-files")
    assert {path.name for path in files} <= set(read)


def test_a_command_takes_the_flag_under_two_names_where_it_has_no_such_key(tfcli):
    data = ["data", "texts", "out", "--validation", "0.2", "--test", "0.2"]
    made = tfcli(*data)
    assert tfcli(*data, "--verify-files") == tfcli(*data, "--verify") == made
