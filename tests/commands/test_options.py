"""Words, flags, --set and a recipe together: what wins, and where words go."""

import json

import pytest
import typer
from pydantic import Field

from tfcli.commands import options
from tfcli.commands.options import _spec, spec_command
from tfcli.errors import UsageError
from tfcli.recipe.execute import Outcome
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

    def execute(spec, console, force=False, out=None):
        seen.append(spec)
        return Outcome(None, False, None)

    monkeypatch.setattr(options, "execute", execute)
    monkeypatch.setattr(options, "finish", lambda result, show, console: None)
    command = typer.main.get_command(spec_command(Work, lambda result, console: None))

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
