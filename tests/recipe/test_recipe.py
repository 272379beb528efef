"""Recipes of steps: references, names, and errors that give the line."""

import pytest

from tfcli.errors import UsageError
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
