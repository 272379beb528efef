"""`tfcli recipe list|show|validate|schema`: recipes, without running them."""

from __future__ import annotations

import json as jsonlib

import typer

from tfcli.commands.help import Command, Group
from tfcli.commands.options import (
    AllowCode,
    Debug,
    Json,
    Quiet,
    RecipeName,
    Sets,
    Verbose,
    json_fields,
)
from tfcli.commands.output import finish, print_table
from tfcli.console import Console, visible
from tfcli.families import load_family_file
from tfcli.recipe.document import Document, read_document
from tfcli.recipe.overrides import parse_set
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
    RecipeSchemaResult,
)
from tfcli.recipe.schema import recipe_schema

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="List, show and check recipes; print their JSON Schema.",
)


@app.command(
    "list",
    cls=Command,
    help="List the recipes that come with tfcli.",
    epilog="tfcli recipe list\n" + json_fields(RecipeListResult),
)
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


@app.command(
    "show",
    cls=Command,
    help="Print a recipe file, or with --json what it comes to.",
    epilog="tfcli recipe show quickstart\n" + json_fields(RecipeResult),
)
def show(
    recipe: RecipeName,
    set_: Sets = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    path = find_recipe(recipe)
    resolved = load_recipe(path, sets=parse_set(set_ or []))

    def say(_: RecipeResult, console: Console) -> None:
        print(visible(path.read_text(encoding="utf-8"), kept="\n\t"), end="")  # noqa: T201
        for step, file in resolved.family_files.items():
            console.note(f"{step}: has a family_file, which is run with the step: {file}")

    steps = {
        step.name: {"command": step.spec.verb, **step.spec.model_dump(mode="json")}
        for step in resolved.steps
    }
    finish(RecipeResult(name=resolved.name, steps=steps), say, Console(quiet, verbose, json))


@app.command(
    "validate",
    cls=Command,
    help="Check a recipe: every key, type, reference and input. Nothing is loaded or run.",
    epilog="tfcli recipe validate mine.yaml --set steps.train.max_steps=50\n"
    + json_fields(RecipeCheckResult),
)
def validate(
    recipe: RecipeName,
    set_: Sets = None,
    allow_code: AllowCode = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    path, sets = find_recipe(recipe), parse_set(set_ or [])
    checked = load_recipe(path, sets=sets, inputs=True)
    code = checked.family_files
    if allow_code and code:
        for file in dict.fromkeys(code.values()):
            load_family_file(file)
        checked = load_recipe(path, sets=sets, inputs=True)  # now with these families

    def say(result: RecipeCheckResult, console: Console) -> None:
        text = f"{path}: valid ({', '.join(result.steps)})"
        console.out.print(text, soft_wrap=True)
        for step, file in result.family_files.items():
            how = "was run" if allow_code else "validating does not run (--allow-code does)"
            console.out.print(f"{step}: has a family_file, which {how}: {file}")

    result = RecipeCheckResult(steps=[step.name for step in checked.steps], family_files=code)
    finish(result, say, Console(quiet, verbose, json))


@app.command(
    "schema",
    cls=Command,
    help="Print the JSON Schema of recipe files, for editors.",
    epilog="tfcli recipe schema\n" + json_fields(RecipeSchemaResult),
)
def schema(
    json: Json = False, quiet: Quiet = False, verbose: Verbose = 0, debug: Debug = False
) -> None:
    def say(result: RecipeSchemaResult, console: Console) -> None:
        print(jsonlib.dumps(result.json_schema, indent=2, ensure_ascii=False))  # noqa: T201

    result = RecipeSchemaResult(json_schema=recipe_schema())
    finish(result, say, Console(quiet, verbose, json))


def _commands(document: Document) -> list[str]:
    if is_recipe_of_steps(document):
        return [str(step.get("command")) for step in document.values["steps"].values()]
    return [single_command(document)[0]]
