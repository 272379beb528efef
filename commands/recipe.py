"""`tfcli recipe list|show|validate|schema`: recipes, without running them."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from tfcli.commands.options import Debug, Json, Quiet, Sets, Verbose
from tfcli.commands.output import finish, print_json, print_table
from tfcli.console import Console
from tfcli.recipe.document import Document, read_document
from tfcli.recipe.overrides import overlay, parse_set
from tfcli.recipe.recipe import (
    find_recipe,
    is_recipe_of_steps,
    load_recipe,
    shipped_recipes,
    single_command,
)
from tfcli.recipe.results import (
    RecipeCheckResult,
    RecipeEntry,
    RecipeListResult,
    RecipeResult,
)
from tfcli.recipe.schema import recipe_schema
from tfcli.recipe.validate import build_spec
from tfcli.recipe.verbs import get_verb

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List, show and check recipes; print their JSON Schema.",
)
Name = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.")]


@app.command("list", help="The recipes that come with tfcli.")
def list_recipes(
    json: Json = False, quiet: Quiet = False, verbose: Verbose = 0, debug: Debug = False
) -> None:
    found = []
    for name, path in shipped_recipes().items():
        document = read_document(path)
        description = str(document.values.get("description", ""))
        found.append(RecipeEntry(name=name, description=description, commands=_commands(document)))
    finish(RecipeListResult(recipes=found), _show_list, Console(quiet, verbose, json))


def _show_list(result: RecipeListResult, console: Console) -> None:
    rows = [[item.name, item.description] for item in result.recipes]
    title = "Shipped recipes: tfcli recipe show NAME"
    print_table(console, title, ["name", "what it does"], rows, texts=2)


@app.command("show", help="Print a recipe file, or with --json what it comes to.")
def show(
    recipe: Name,
    set_: Sets = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    path = find_recipe(recipe)
    resolved = _resolved(path, parse_set(set_ or []))
    if json:
        print_json(resolved.model_dump(mode="json"))
    else:
        print(path.read_text(encoding="utf-8"), end="")  # noqa: T201


@app.command("validate", help="Check a recipe: every key, type and reference. Nothing is loaded.")
def validate(
    recipe: Name,
    set_: Sets = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    path = find_recipe(recipe)
    resolved = _resolved(path, parse_set(set_ or []))

    def say(result: RecipeCheckResult, console: Console) -> None:
        console.out.print(f"{path}: valid ({', '.join(result.steps)})", markup=False)
        for step, file in result.family_files.items():
            console.out.print(
                f"{step}: has a family_file, which validating does not run: {file}", markup=False
            )

    steps = resolved.steps
    files = {name: step["family_file"] for name, step in steps.items() if step.get("family_file")}
    result = RecipeCheckResult(steps=list(steps), family_files=files)
    finish(result, say, Console(quiet, verbose, json))


@app.command("schema", help="The JSON Schema of recipe files, for editors.")
def schema(debug: Debug = False) -> None:
    print(jsonlib.dumps(recipe_schema(), indent=2, ensure_ascii=False))  # noqa: T201


def _commands(document: Document) -> list[str]:
    if is_recipe_of_steps(document):
        return [str(step.get("command")) for step in document.values["steps"].values()]
    return [single_command(document)[0]]


def _resolved(path: Path, sets: dict[str, Any]) -> RecipeResult:
    """A recipe with every default filled in and every reference resolved."""
    document = read_document(path)
    if is_recipe_of_steps(document):
        recipe = load_recipe(path, sets=sets)
        steps = {step.name: step.spec for step in recipe.steps}
        name = recipe.name
    else:
        name, keys = single_command(document)
        steps = {name: build_spec(get_verb(name).spec(), overlay(keys, sets), document)}
    resolved = {
        step: {"command": spec.verb, **spec.model_dump(mode="json")} for step, spec in steps.items()
    }
    return RecipeResult(name=name, steps=resolved)
