"""The spec classes are the single source: every key and field is described."""

import jsonschema
import pytest
import yaml

from tfcli.recipe.recipe import SHIPPED
from tfcli.recipe.reference import json_page, keys_page
from tfcli.recipe.schema import recipe_schema
from tfcli.recipe.spec import walk_fields
from tfcli.recipe.verbs import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_is_described_in_a_sentence(verb):
    for key, field in walk_fields(VERBS[verb].spec()):
        assert (field.description or "").endswith("."), f"{verb}.{key}"


def test_every_field_of_every_result_is_described():
    rows = [line for line in json_page({}).splitlines() if line.startswith("| `")]
    assert rows and not [row for row in rows if row.endswith("|  |")]


def test_the_pages_name_keys_types_and_defaults():
    page = keys_page()
    assert "| `optimizer.lr` | float | `0.001` | The peak learning rate. |" in page
    assert "| `model` | model | required |" in page


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_shipped_recipes_and_refuses_a_misspelt_key(path):
    check = jsonschema.Draft202012Validator(recipe_schema())
    recipe = yaml.safe_load(path.read_text())
    # PyYAML alone reads 2e-3 as text; an editor's YAML 1.2 reads the number.
    recipe["steps"]["train"]["optimizer"]["lr"] = 2e-3
    assert list(check.iter_errors(recipe)) == []
    recipe["steps"]["train"]["optimizer"]["lrr"] = 1
    assert [error.message for error in check.iter_errors(recipe)]


def test_the_schema_describes_one_command_recipes_too():
    check = jsonschema.Draft202012Validator(recipe_schema())
    assert check.is_valid({"command": "quantize", "method": "rtn", "bits": 4})
    assert not check.is_valid({"command": "quantize", "bits": 5})
    assert not check.is_valid({"command": "quantise"})
