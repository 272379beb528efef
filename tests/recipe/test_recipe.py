"""Recipes of steps: references, names, and errors that give the line."""

import pytest

from tfcli.errors import SeveralProblemsError, UsageError
from tfcli.recipe.document import parse_document, read_document
from tfcli.recipe.recipe import find_recipe, load_recipe, shipped_recipes, single_command

GOOD = """\
name: demo
output: out
steps:
  text:
    command: data
    source: python-docs
  words:
    command: tokenizer
    data: ${text}/train.jsonl
"""


@pytest.fixture
def recipe(tmp_path):
    def write(text: str):
        path = tmp_path / "r.yaml"
        path.write_text(text)
        return path

    return write


def test_references_become_the_folders_of_earlier_steps(recipe):
    loaded = load_recipe(recipe(GOOD))
    assert [step.name for step in loaded.steps] == ["text", "words"]
    assert loaded.steps[1].spec.data == "out/text/train.jsonl"
    assert loaded.steps[1].spec.output == "out/words"


def test_output_and_any_key_can_be_set_from_outside(recipe):
    loaded = load_recipe(recipe(GOOD), output="there", sets={"steps.words.vocab_size": 300})
    assert loaded.steps[1].spec.output == "there/words"
    assert loaded.steps[1].spec.vocab_size == 300


@pytest.mark.parametrize(
    ("change", "what", "line"),
    [
        (("${text}", "${txt}"), "no earlier step is named 'txt'", 9),
        (("command: tokenizer", "command: tokeniser"), "unknown command 'tokeniser'", 8),
        (("source:", "sourec:"), "unknown key 'sourec'", 6),
        (("  words:", "  ../words:"), "cannot name a step", 7),
        (("name: demo", "title: demo"), "unknown key 'title'", 1),
        (("    source: python-docs", "    source: a\n    output: b"), "its own folder", 7),
        (("data: ${text}/train.jsonl", "vocab_size: 300"), "'data' is required", 7),
    ],
)
def test_a_mistake_is_named_with_its_line(recipe, change, what, line):
    path = recipe(GOOD.replace(*change))
    with pytest.raises(UsageError) as error:
        load_recipe(path)
    assert what in str(error.value)
    assert f"r.yaml:{line}:" in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "steps: []", "steps: {}", "steps:\n  a: 1\n"])
def test_what_has_no_steps_is_not_a_recipe_of_steps(recipe, text):
    with pytest.raises(UsageError):
        load_recipe(recipe(text))


def test_a_one_command_recipe_may_leave_the_command_to_the_command_line():
    document = parse_document("steps_: 1\n", "r.yaml")
    assert single_command(document, "train") == ("train", {"steps_": 1})


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("command: eval\n", "tfcli eval r.yaml"),
        ("steps: {}\n", "tfcli run r.yaml"),
    ],
)
def test_a_recipe_for_something_else_says_which_command_takes_it(text, fix):
    with pytest.raises(UsageError) as error:
        single_command(parse_document(text, "r.yaml"), "train")
    assert error.value.fix == fix


def test_an_unknown_recipe_name_gives_the_nearest():
    with pytest.raises(UsageError) as error:
        find_recipe("quickstrat")
    assert "did you mean 'quickstart'?" in error.value.fix


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_described(name):
    path = find_recipe(name)
    assert read_document(path).values["description"]
    assert load_recipe(path).steps


WRONG = """\
name: demo
outptu: out
steps:
  text:
    command: data
    sourec: python-docs
  bad/name:
    command: tokenizer
    data: ${text}/train.jsonl
  words:
    command: tokenizer
    data: ${txt}/train.jsonl
    vocab_size: many
  small:
    command: quantize
    model: ${words}
    method: rtn
    samples: 128
    output: elsewhere
  loss:
    command: evla
    model: ${smal}
  dense:
    command: eval
    model: ./no-such-model
    data: no-such-text.txt
    prime: ${text}/train.jsonl
  last:
    command: eval
    model: runs/none/at/all
    data: no-such-text.txt
"""


def test_everything_that_is_wrong_is_found_at_once_with_its_line(recipe):
    with pytest.raises(SeveralProblemsError) as error:
        load_recipe(recipe(WRONG), inputs=True)
    found = [
        (int(problem.where.split("r.yaml:")[1].split(":")[0]), problem.code)
        for problem in error.value.problems
    ]
    assert found == [
        (2, "usage.unknown_key"),
        (4, "usage.missing_key"),
        (6, "usage.unknown_key"),
        (7, "recipe.wrong_step"),
        (12, "recipe.unknown_reference"),
        (13, "usage.wrong_value"),
        (18, "usage.no_effect"),
        (19, "recipe.wrong_step"),
        (21, "usage.unknown_command"),
        (22, "recipe.unknown_reference"),
        (25, "input.missing"),
        (26, "input.missing"),
        (27, "usage.no_effect"),
        (30, "input.missing"),
        (31, "input.missing"),
    ]


def test_an_input_from_outside_must_be_there_unless_an_earlier_step_makes_it(recipe, tmp_path):
    text = GOOD.replace("python-docs", str(tmp_path / "texts"))
    with pytest.raises(UsageError, match="no such file or folder") as error:
        load_recipe(recipe(text), inputs=True)
    assert (error.value.code, "r.yaml:6: steps.text.source" in error.value.where) == (
        "input.missing",
        True,
    )
    (tmp_path / "texts").mkdir()
    assert load_recipe(recipe(text), inputs=True).steps
    swapped = text.replace("data: ${text}/train.jsonl", "data: out/later/train.jsonl")
    with pytest.raises(UsageError, match="out/later"):
        load_recipe(recipe(swapped + "  later:\n    command: data\n    source: .\n"), inputs=True)


@pytest.mark.parametrize("model", ["./here", "/no/where", "runs/demo/train", "~/models/llama"])
def test_a_model_that_can_only_be_a_path_must_be_there(recipe, model):
    text = f"command: generate\nmodel: {model}\nprompt: x\n"
    with pytest.raises(UsageError, match="no such file or folder"):
        load_recipe(recipe(text), inputs=True)


@pytest.mark.parametrize("model", ["org/name", "org/name@main", "gpt2", "org/name/file.gguf"])
def test_a_model_that_may_be_one_of_the_hub_is_not_looked_for(recipe, model):
    assert load_recipe(recipe(f"command: generate\nmodel: {model}\nprompt: x\n"), inputs=True)


def test_a_set_may_use_another_name_of_a_key(recipe):
    text = "steps:\n  loss:\n    command: eval\n    model: m\n    data: d\n    sequence_length: 9\n"
    loaded = load_recipe(recipe(text), sets={"steps.loss.window": 5})
    assert loaded.steps[0].spec.sequence_length == 5


def test_a_folder_named_like_a_shipped_recipe_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert find_recipe("quickstart").is_file()
