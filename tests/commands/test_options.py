"""Words, flags, --set and a recipe together: what wins, and where words go."""

import json
from typing import Annotated

import pytest
import typer
from pydantic import Field

from tfcli.commands import app, options
from tfcli.commands.options import _spec, spec_command
from tfcli.errors import UsageError
from tfcli.recipe.execute import Outcome
from tfcli.recipe.marks import Also
from tfcli.recipe.spec import Section, Spec


class Inner(Section):
    rate: float = Field(0.5, description="A rate.")
    fast: bool = Field(False, description="Whether.")


class Work(Spec):
    verb = "data"
    positional = ("model", "places")
    model: str = Field(description="One word.")
    places: list[str] = Field(description="All the words that are left.")
    inner: Inner = Inner()
    table: dict[str, int] | None = Field(None, description="Has no flag.")


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """Runs a command line and gives the spec that it comes to."""
    seen = []

    def execute(spec, console, force=False, anew=False, out=None):
        seen.append(spec)
        return Outcome(None, False, None)

    monkeypatch.setattr(options, "execute", execute)
    monkeypatch.setattr(options, "finish", lambda result, show, console: None)
    command = typer.main.get_command(
        spec_command(Work, lambda result, console: None, epilog="tfcli data")
    )

    def run(*words: str, recipe: dict | None = None):
        if recipe is not None:
            (tmp_path / "r.json").write_text(json.dumps(recipe))
            words = (str(tmp_path / "r.json"), *words)
        command(list(words), standalone_mode=False)
        return seen[-1]

    return run


def test_words_fill_the_positional_keys_and_the_last_takes_many(parse):
    spec = parse("m", "a", "b", "c", "--inner.fast")
    assert (spec.model, spec.places, spec.inner.fast) == ("m", ["a", "b", "c"], True)


class Blend(Spec):
    verb = "data"
    positional = ("sources", "output")
    sources: list[str] = Field(min_length=2, description="All words but the last.")
    output: str = Field(description="The last word.")


def test_a_list_before_another_key_leaves_it_a_word():
    words = lambda *given: _spec(Blend, list(given), {}, {})  # noqa: E731
    assert words("a", "b", "c", "out").sources == ["a", "b", "c"]
    assert words("a", "b", "c", "out").output == "out"
    with pytest.raises(UsageError, match="sources"):
        words("a", "out")
    with pytest.raises(UsageError, match="'output' is required"):
        words("a")


def test_a_flag_wins_over_set_over_the_recipe_over_the_default(parse):
    recipe = {"model": "m", "places": ["a"], "inner": {"rate": 1.0}}
    assert parse(recipe=recipe).inner.rate == 1.0
    assert parse("--set", "inner.rate=2", recipe=recipe).inner.rate == 2.0
    both = parse("--set", "inner.rate=2", "--inner.rate", "3", recipe=recipe)
    assert (both.inner.rate, both.inner.fast) == (3.0, False)


def test_words_after_a_recipe_fill_what_it_leaves_open(parse):
    assert parse("m", "a", recipe={}).places == ["a"]
    assert parse("a", "b", recipe={"model": "m"}).places == ["a", "b"]
    with pytest.raises(UsageError, match="too many words"):
        parse("a", recipe={"model": "m", "places": ["b"]})


def test_set_reaches_what_has_no_flag(parse):
    assert parse("m", "a", "--set", "table.x=1").table == {"x": 1}


def test_a_missing_word_is_named(parse):
    with pytest.raises(UsageError, match="'places' is required"):
        parse("m")


def test_what_may_be_a_word_may_be_a_flag(parse):
    by_words = parse("m", "a", "b")
    assert parse("--model", "m", "--places", "a", "--places", "b") == by_words
    assert parse("a", "b", "--model", "m") == by_words
    with pytest.raises(UsageError, match="too many words"):
        parse("m", "a", "--model", "m", "--places", "b")


def test_the_output_has_a_letter():
    spec = _spec(Blend, ["a", "b"], {}, {"output": "out"})
    assert (spec.sources, spec.output) == (["a", "b"], "out")


def test_a_key_of_a_section_may_leave_the_section_out(parse):
    assert parse("m", "a", "--rate", "2", "--no-fast").inner.rate == 2.0


class Named(Spec):
    verb = "data"
    positional = ("source",)
    source: Annotated[str, Also("model")] = Field(description="What to read.")
    length: Annotated[int, Also("window")] = Field(4, description="How long.")


@pytest.mark.parametrize("words", [("s",), ("--source", "s"), ("--model", "s")])
def test_other_names_of_keys_are_flags(words):
    command = typer.main.get_command(spec_command(Named, lambda *_: None, epilog="tfcli data s"))
    flags = {name for param in command.params for name in param.opts}
    assert {"--source", "--model", "--length", "--window"} <= flags
    given = {"source": "s"} if words[0].startswith("--") else {}
    assert _spec(Named, [] if given else ["s"], {"window": 3}, given).length == 3


def test_a_flag_wins_over_another_name_of_its_key_in_the_recipe(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"model": "s", "window": 9}')
    spec = _spec(Named, [str(path)], {}, {"length": 3})
    assert (spec.source, spec.length) == ("s", 3)


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["quantize", "M", "O"], ["quantize", "--model", "M", "-o", "O"]),
        (["convert", "M", "O"], ["convert", "--model", "M", "--output", "O"]),
        (["inspect", "M"], ["inspect", "--model", "M"]),
    ],
)
def test_words_and_flags_of_the_real_commands_are_one(words, flags, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "M").mkdir()
    said = []
    for line in (words, flags):
        assert app.run([*line, "--json"]) != 0
        said.append(json.loads(capsys.readouterr().out)["error"])
    assert said[0] == said[1] and "M" in json.dumps(said[0])
