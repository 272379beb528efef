"""Wrong keys and values are named with their path and the nearest valid key."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from tfcli.errors import UsageError
from tfcli.recipe.document import parse_document
from tfcli.recipe.marks import Only
from tfcli.recipe.overrides import overlay, parse_set
from tfcli.recipe.shared_keys import Seed
from tfcli.recipe.spec import (
    InputPath,
    OutputPath,
    Section,
    Spec,
    inputs_of,
    paths_with_role,
    walk_fields,
    without_inputs,
)
from tfcli.recipe.validate import build_spec


class Optimizer(Section):
    lr: float = Field(1e-3, gt=0, description="The learning rate.")
    name: Literal["adamw", "sgd"] = Field("adamw", description="The optimizer.")


class Work(Spec):
    verb = "work"
    data: list[InputPath] = Field(description="Input files.")
    output: OutputPath | None = Field(None, description="Where to.")
    steps: int = Field(10, description="How many.")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="How to step.")


def check(text: str) -> UsageError:
    document = parse_document(text, "r.yaml")
    with pytest.raises(UsageError) as error:
        build_spec(Work, document.values, document)
    return error.value


def test_a_misspelt_key_names_its_line_and_the_key_that_was_meant():
    error = check("data: [x]\noptimizer:\n  lrr: 1\n")
    assert error.what == "unknown key 'lrr'"
    assert error.where == "r.yaml:3: optimizer.lrr"
    assert "did you mean 'lr'?" in error.fix


def test_a_wrong_type_shows_what_was_given():
    error = check("data: [x]\nsteps: many\n")
    assert "integer" in error.what and "'many'" in error.what
    assert error.where == "r.yaml:2: steps"


def test_a_missing_key_is_named():
    assert "'data' is required" in check("steps: 1\n").what


def test_a_value_outside_the_choices_lists_them():
    error = check("data: [x]\noptimizer: {name: adam}\n")
    assert "'adamw' or 'sgd'" in error.what


def test_several_problems_are_told_at_once():
    error = check("data: [x]\nstepz: 1\nsteps: a\n")
    assert error.what.startswith("2 things are wrong")
    assert "r.yaml:2: stepz" in error.what and "r.yaml:3: steps" in error.what


def test_set_reaches_nested_keys_and_leaves_the_recipe_as_it_was():
    recipe = {"data": ["x"], "optimizer": {"name": "sgd"}}
    spec = build_spec(Work, overlay(recipe, parse_set(["optimizer.lr=1e-4", "steps=3"])))
    assert (spec.optimizer.lr, spec.optimizer.name, spec.steps) == (1e-4, "sgd", 3)
    assert recipe == {"data": ["x"], "optimizer": {"name": "sgd"}}


@pytest.mark.parametrize("pair", ["lr", "=3", "steps.x.y=1"])
def test_a_set_that_reaches_nothing_is_refused(pair):
    with pytest.raises(UsageError):
        overlay({"steps": 3}, parse_set([pair]))


def test_fields_and_roles_are_found_inside_lists_and_options():
    assert [key for key, _ in walk_fields(Work)] == [
        "data", "output", "steps", "optimizer.lr", "optimizer.name",
    ]  # fmt: skip
    spec = Work(data=["a", "b"], output="o")
    assert paths_with_role(spec, "input") == [("data", "a"), ("data", "b")]
    assert paths_with_role(spec, "output") == [("output", "o")]


class Tool(Section):
    stands_for = "path"
    path: InputPath = Field(description="What it is.")
    weight: Annotated[float, Only(kind=("heavy",))] = Field(1.0, description="How heavy it is.")
    kind: Literal["light", "heavy"] = Field("light", description="How it is.")


class Box(Spec):
    verb = "box"
    tools: dict[str, Tool] = Field(description="The tools by name.")
    output: OutputPath = Field("o", description="Where to.")


def test_the_entries_of_a_mapping_are_sections_and_a_text_stands_for_one():
    values = {"tools": {"saw": "a", "axe": {"path": "b", "kind": "heavy", "weight": 3.0}}}
    keys = ["tools.*.path", "tools.*.weight", "tools.*.kind", "output"]
    assert [key for key, _ in walk_fields(Box)] == keys
    spec = build_spec(Box, values)
    assert (spec.tools["saw"].path, spec.tools["axe"].weight) == ("a", 3.0)
    found = [("tools.saw.path", "a"), ("tools.axe.path", "b")]
    assert paths_with_role(spec, "input") == paths_with_role(values, "input", Box) == found
    assert [(each.key, each.name) for each in inputs_of(spec)] == found
    left = {"saw": {"kind": "light"}, "axe": {"weight": 3.0, "kind": "heavy"}}
    assert without_inputs(spec) == {"tools": left}
    assert build_spec(Box, spec.model_dump()) == spec


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("{path: a, wieght: 1}", "unknown key 'wieght'"),
        ("{kind: heavy}", "'path' is required"),
        ("{path: a, weight: 2}", "weight has no effect with kind: light"),
        ("3", "should be a valid dictionary"),
    ],
)
def test_what_is_wrong_in_an_entry_is_named_with_its_name(tool, message):
    document = parse_document(f"tools:\n  saw: {tool}\n", "r.yaml")
    with pytest.raises(UsageError, match=message) as error:
        build_spec(Box, document.values, document)
    assert error.value.where.startswith("r.yaml:2: tools.saw")


@pytest.mark.parametrize("value", [True, False])
def test_yes_and_no_are_no_numbers(value):
    with pytest.raises(UsageError, match=f"should be a number, not {value}") as error:
        build_spec(Work, {"data": ["x"], "steps": value})
    assert error.value.code == "usage.wrong_value"
    with pytest.raises(UsageError, match="should be a number"):
        build_spec(Work, {"data": ["x"], "optimizer": {"lr": value}})


@pytest.mark.parametrize("output", ["", ".", "/", "./"])
def test_an_output_needs_a_name(output):
    with pytest.raises(UsageError, match="names no folder to make"):
        build_spec(Work, {"data": ["x"], "output": output})


@pytest.mark.parametrize("key", ["data", "output"])
def test_a_name_with_a_nul_is_refused_whatever_it_names(key):
    error = check({"data": 'data: ["a", "b\\0c"]', "output": 'data: [a]\noutput: "o\\0"'}[key])
    assert key in error.what and "NUL" in error.what


class Draw(Spec):
    verb = "draw"
    seed: Seed = Field(0, description="A seed.")


@pytest.mark.parametrize("seed", [-1, 2**63, 10**22])
def test_a_seed_is_what_generators_take(seed):
    with pytest.raises(UsageError):
        build_spec(Draw, {"seed": seed})
    assert build_spec(Draw, {"seed": 2**63 - 1}).seed == 2**63 - 1
