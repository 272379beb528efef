"""The recipes that come with tfcli."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfcli.recipe.document import read_document
from tfcli.recipe.recipe import load_recipe
from tfcli.train.objectives.registry import OBJECTIVES

RECIPES = sorted(Path("recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_writes_into_a_folder_of_its_name(path):
    recipe = load_recipe(path)
    assert recipe.steps
    values = read_document(path).values
    assert values["name"] == path.stem and values["output"] == f"runs/{path.stem}"


def test_every_objective_has_a_recipe():
    shown = {
        step.get("objective", "causal-lm")
        for path in RECIPES
        for step in read_document(path).values["steps"].values()
        if step["command"] == "train"
    }
    assert shown == set(OBJECTIVES)
