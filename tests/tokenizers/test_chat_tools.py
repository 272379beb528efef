"""Schemas of Python functions are those of transformers; what a schema lacks is an error."""

from __future__ import annotations

import enum
import json
from typing import Any, Literal, Optional, Union

import pytest

from tests.tokenizers.test_chat import TEMPLATES, of_transformers, render, user
from tfcli.errors import WorkError
from tfcli.tokenizers.chat_tools import get_json_schema

TOOL_TEMPLATE = TEMPLATES["qwen25"]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"
    NONE = None


def primitives(a: int, b: float, c: str, d: bool, e: None, f: Any):
    """Takes one of each.

    Args:
        a: a number
        b: another
        c: a text
        d: yes or no
        e: nothing
        f: anything
    """


def no_arguments():
    """Tells the time."""


def collections(a: list, b: list[int], c: dict, d: dict[str, float], e: tuple[int, str], f: tuple):
    """Takes what holds others.

    Args:
        a: list
        b: numbers
        c: mapping
        d: mapping of numbers
        e: two
        f: several

    Returns:
        nothing
    """


def nested(a: list[dict[str, list[tuple[int, Colour]]]], b: dict[str, Optional[list[str]]]):  # noqa: UP045
    """Nested.

    Args:
        a: deep
        b: deep, too
    """


def unions(
    a: Optional[int],  # noqa: UP045
    b: Union[int, str],  # noqa: UP007
    c: int | float | None,
    d: list[int] | str,
    e: Literal["x", "y"] | int,
    f: list | tuple,
    g: Colour | None = None,
):
    """Unions.

    Args:
        a: one
        b: two
        c: three
        d: four
        e: five
        f: six
        g: seven
    """


def choices(a: Literal["x", "y"], b: Literal[1, "two", None], c: Colour, d: Mixed, e: str = "tea"):
    """One of a few.

    Args:
        a: letters
        b: mixed
        c: a colour
        d: mixed, too
        e: a drink (Choices: ["tea", " coffee "])
    """


def defaults(a: int, b: str = "x", *, c: float = 1.0, d: bool) -> list[float]:
    """A description that goes on
    over lines.

    And paragraphs: with a colon.

    Args:
        a: first, and this: goes on
            note: on a deeper line

            after a blank one
        b:
            on a line of its own
        c: third
        still the third
        d: fourth

    Returns:
        Numbers: as many
          as there are.

    Raises:
        ValueError: sometimes.
    """


def returned(a: int) -> Colour:
    """Returns without words.

    Args:
        a: a number
    """


def returns_an_object(a: int) -> object:
    """Returns what JSON does not have.

    Args:
        a: a number

    Returns:
        An object.
    """


class Weather:
    def ask(self, city: str) -> str:
        """The weather.

        Args:
            city: of which city

        Returns:
            a text
        """

    @classmethod
    def of_all(cls, day: int):
        """The weather everywhere.

        Args:
            day: of the month
        """


FUNCTIONS = [primitives, no_arguments, collections, nested, unions, choices, defaults, returned,
             returns_an_object, Weather().ask, Weather.of_all]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_schemas_are_those_of_transformers(function):
    from transformers.utils import get_json_schema as theirs

    assert json.dumps(get_json_schema(function)) == json.dumps(theirs(function))


def test_a_template_takes_functions_and_schemas():
    tools = [Weather().ask, get_json_schema(choices), unions]
    text = render(TOOL_TEMPLATE, [user("Is it warm?")], tools=tools).text
    assert text == of_transformers(TOOL_TEMPLATE, [user("Is it warm?")], tools=tools)
    assert '"name": "ask"' in text and '"name": "unions"' in text


def test_types_in_parentheses_are_left_out_of_descriptions():
    def googles(city: str):
        """The weather.

        Args:
            city (str): of which city
        """

    properties = get_json_schema(googles)["function"]["parameters"]["properties"]
    assert properties == {"city": {"type": "string", "description": "of which city"}}


def undocumented(a: int): ...


def undescribed(a: int, b: int):
    """Adds.

    Args:
        a: first
    """


def untyped(a):
    """Adds.

    Args:
        a: first
    """


def of_a_class(a: Weather):
    """Asks.

    Args:
        a: it
    """


def of_many(*a: int):
    """Adds.

    Args:
        a: numbers
    """


def of_a_single(a: tuple[int]):
    """Adds.

    Args:
        a: numbers
    """


def of_any_length(a: list[tuple[int, ...]]):
    """Adds.

    Args:
        a: numbers
    """


def unknown(a: Nowhere):  # noqa: F821
    """Adds.

    Args:
        a: numbers
    """


def badly_chosen(a: str):
    """Adds.

    Args:
        a: a word (choices: [tea, coffee])
    """


@pytest.mark.parametrize(
    ("function", "where", "what"),
    [
        (undocumented, "undocumented", "no docstring"),
        (undescribed, r"undescribed(b)", "does not describe"),
        (untyped, r"untyped(a)", "no type"),
        (of_a_class, r"of_a_class(a)", "no JSON schema for the type Weather"),
        (of_many, r"of_many(a)", "any number"),
        (of_a_single, r"of_a_single(a)", "a tuple of one value"),
        (of_any_length, r"of_any_length(a)", "a tuple of one value or of any number"),
        (unknown, "unknown", "'Nowhere' is not defined"),
        (badly_chosen, r"badly_chosen(a)", "choices are no JSON"),
    ],
)
def test_what_a_schema_lacks_is_named(function, where, what):
    with pytest.raises(WorkError, match=what) as error:
        render(TOOL_TEMPLATE, [user("Hi")], tools=[function])
    assert error.value.where == where


def test_what_is_neither_a_function_nor_a_schema_is_refused():
    with pytest.raises(WorkError, match="expected a mapping") as error:
        render(TOOL_TEMPLATE, [user("Hi")], tools=[len])
    assert error.value.where == "tools[0]"
