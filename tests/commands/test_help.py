"""Help can be read: whole names, no line wider than the terminal, sentences, an example."""

import re

import pytest

from tfcli.commands.app import COMMANDS, run
from tfcli.recipe.spec import EACH, walk_fields
from tfcli.recipe.verbs import VERBS

PAGES = [
    (),
    *(tuple(name.split()) for name in COMMANDS),
    *(("recipe", name) for name in ("list", "show", "validate", "schema")),
    *(("hub", name) for name in ("ls", "download", "upload")),
]


@pytest.fixture
def page(capsys, monkeypatch):
    """The help of a command at a width."""

    def read(words=(), width: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        assert run([*words, "--help"]) == 0
        return capsys.readouterr().out

    return read


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost_or_cut(page, words):
    wide = page(words, 100)
    for width in (80, 60, 45):
        text = page(words, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        assert re.findall(r"--[\w.-]+", text) == re.findall(r"--[\w.-]+", wide)
        assert text.replace("\\\n", " ").split() == wide.replace("\\\n", " ").split()


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_has_its_flag_and_its_whole_text(page, verb):
    text = " ".join(page((verb,), 60).split())
    for key, field in walk_fields(VERBS[verb].spec()):
        if EACH not in key and "dict" not in str(field.annotation):
            assert f"--{key.replace('_', '-')}" in text
            assert " ".join(field.description.split()) in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example_and_names_the_fields_of_its_json(page, verb):
    text = page((verb,))
    assert f"Example:\n  tfcli {verb} " in text
    fields = " ".join(text.split()).partition("With --json the fields are: ")[2]
    for name in VERBS[verb].result().model_fields:
        assert name in re.split(r"[ ,]+", fields)


def test_keys_with_a_condition_stand_under_it(page):
    below = page(("quantize",)).partition("Only with --method gptq:")[2].partition("\n\n")[0]
    assert re.findall(r"^  (--[\w-]+)", below, re.MULTILINE) == [
        "--damping", "--order", "--drift", "--refine", "--target-bits", "--target-size",
    ]  # fmt: skip
    assert "Only with --schedule.name cosine, linear, wsd or polynomial." in " ".join(
        page(("train",)).split()
    )


@pytest.mark.parametrize("words", PAGES[1:], ids=" ".join)
def test_the_last_group_holds_what_every_command_takes_and_nothing_else(page, words):
    below = page(words).partition("Every command:")[2].partition("\n\n")[0]
    flags = set(re.findall(r"^  (-[\w-]+)", below, re.MULTILINE))
    shared = {"--json", "--quiet", "--verbose", "--debug", "--help"}
    if words in (("recipe",), ("hub",)):
        shared = {"--help"}
    assert shared <= flags <= shared | {"--set", "--force", "--verify-files", "--push-to-hub"}


def test_a_pipe_gets_no_colours(page):
    assert "\x1b" not in page(("train",))


@pytest.mark.parametrize("words", [[], ["recipe"], ["hub"]])
def test_a_group_without_a_command_shows_its_help_and_no_error(words, capsys):
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert "Commands:" in out and err == ""
