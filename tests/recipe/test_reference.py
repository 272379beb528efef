"""The spec classes are the single source: every key and field is described."""

import re
from pathlib import Path

import jsonschema
import pytest

from tfcli.commands.app import COMMANDS
from tfcli.errors import CODES
from tfcli.recipe.agents import agents_page
from tfcli.recipe.document import read_document
from tfcli.recipe.recipe import SHIPPED
from tfcli.recipe.reference import json_page, keys_page
from tfcli.recipe.schema import recipe_schema
from tfcli.recipe.spec import walk_fields
from tfcli.recipe.verbs import VERBS
from tfcli.serve.spec import ServeSpec

SERVICES = {"serve": ServeSpec}


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_is_described_in_a_sentence(verb):
    for key, field in walk_fields(VERBS[verb].spec()):
        assert (field.description or "").endswith("."), f"{verb}.{key}"


def test_every_field_of_every_result_is_described():
    rows = [line for line in json_page({}).splitlines() if line.startswith("| `")]
    assert rows and not [row for row in rows if row.endswith("|  |")]


FRAGMENT = re.compile(r"(Of|Its|That|Or|And|Such|At|Mean|As|To|Between|With|For|From|In)\b")
"""How the end of a sentence begins whose subject stands somewhere else."""


def test_every_text_has_a_subject():
    rows = [line for page in (keys_page(SERVICES), json_page({})) for line in page.splitlines()]
    texts = [row.removesuffix(" |").rpartition(" | ")[2] for row in rows if row.startswith("| `")]
    assert texts and not [text for text in texts if FRAGMENT.match(text)]


def test_the_pages_name_keys_types_and_defaults():
    page = keys_page(SERVICES)
    assert "| `optimizer.weight_decay` | float | `0.1` | Weight decay, decoupled" in page
    assert "| `model` | model | required |" in page


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_shipped_recipes_and_refuses_a_misspelt_key(path):
    check = jsonschema.Draft202012Validator(recipe_schema())
    recipe = read_document(path).values
    assert list(check.iter_errors(recipe)) == []
    for step in recipe["steps"].values():
        step["commmand"] = 1
        assert [error.message for error in check.iter_errors(recipe)]
        del step["commmand"]
    assert check.is_valid(recipe)


def test_the_schema_describes_one_command_recipes_too():
    check = jsonschema.Draft202012Validator(recipe_schema())
    assert check.is_valid({"command": "quantize", "method": "rtn", "bits": 4})
    assert not check.is_valid({"command": "quantize", "bits": 7})
    assert not check.is_valid({"command": "quantise"})


@pytest.mark.parametrize(
    ("name", "page"),
    [("AGENTS.md", agents_page(COMMANDS)), ("docs/reference.md", keys_page(SERVICES))],
)
def test_the_pages_in_the_repository_are_those_of_the_table_of_commands(name, page):
    """`scripts/reference --check` finds the same of every page."""
    root = Path(__file__).parent.parent.parent
    assert (root / name).read_text(encoding="utf-8") == page


def test_the_page_for_agents_names_every_command_and_code():
    page = agents_page(COMMANDS)
    assert all(f"`tfcli {name}" in page for name in COMMANDS)
    assert all(f"| `{code}` |" in page for code in CODES)
