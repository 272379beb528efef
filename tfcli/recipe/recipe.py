"""A recipe file: one command with its keys, or named steps that feed each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.errors import UsageError, hint
from tfcli.recipe.document import Document, read_document
from tfcli.recipe.overrides import overlay
from tfcli.recipe.spec import Spec
from tfcli.recipe.validate import build_spec
from tfcli.recipe.verbs import get_verb

SHIPPED = Path(__file__).parent.parent / "recipes"
SUFFIXES = (".yaml", ".yml", ".json")
HEADER_KEYS = ("name", "description", "output", "steps")
STEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
REFERENCE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Step:
    """One step, ready to run: references are resolved and the spec is checked."""

    name: str
    spec: Spec


@dataclass(frozen=True)
class Recipe:
    """A recipe of several steps, in the order they run."""

    name: str
    description: str
    output: str
    steps: tuple[Step, ...]


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that tfcli ships."""
    path = Path(name)
    if path.suffix in SUFFIXES or path.exists():
        return path
    known = shipped_recipes()
    if name in known:
        return known[name]
    raise UsageError(f"there is no recipe {name!r}", fix=hint(name, known))


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with tfcli: name -> file."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def is_recipe_of_steps(document: Document) -> bool:
    """Whether a document has `steps`; otherwise it is a recipe for one command."""
    return isinstance(document.values, dict) and "steps" in document.values


def single_command(document: Document, verb: str | None = None) -> tuple[str, dict[str, Any]]:
    """The command and the keys of a one-command recipe.

    Args:
        verb: the command that it is given to; the recipe may then leave `command` out.

    Raises:
        UsageError: not a mapping, a recipe of steps, for another command, or without a command.
    """
    values = _mapping(document)
    if is_recipe_of_steps(document):
        raise UsageError(
            "this is a recipe of several steps",
            where=document.source,
            fix=f"tfcli run {document.source}",
        )
    keys = {key: value for key, value in values.items() if key not in ("command", "description")}
    named = values.get("command", verb)
    if named is None:
        raise UsageError("'command' is missing", where=document.source, fix="command: train")
    if verb and named != verb:
        raise UsageError(
            f"this recipe is for {named!r}, not for {verb!r}",
            where=document.where(["command"]),
            fix=f"tfcli {named} {document.source}",
        )
    get_verb(str(named), where=document.where(["command"]))
    return str(named), keys


def load_recipe(
    path: Path, *, output: str | None = None, sets: dict[str, Any] | None = None
) -> Recipe:
    """Read and check a recipe of steps, before anything runs.

    Args:
        path: the file.
        output: put the steps' folders here instead of the recipe's own `output`.
        sets: dotted overrides, for example `{"steps.train.max_steps": 10}`.

    Raises:
        UsageError: anything wrong with any key of any step.
    """
    document = read_document(path)
    values = overlay(_mapping(document), sets or {})
    for key in values:
        if key not in HEADER_KEYS:
            raise UsageError(
                f"unknown key {key!r}",
                where=document.where([str(key)]),
                fix=hint(str(key), HEADER_KEYS),
            )
    steps = values.get("steps")
    if not isinstance(steps, dict) or not steps:
        raise UsageError("'steps' must map step names to steps", where=document.where(["steps"]))
    name = _text(document, values, "name", path.stem)
    root = output or _text(document, values, "output", f"runs/{name}")
    done: list[Step] = []
    for step_name, step in steps.items():
        done.append(_load_step(document, str(step_name), step, root, [one.name for one in done]))
    return Recipe(name, _text(document, values, "description", ""), root, tuple(done))


def _load_step(document: Document, name: str, step: Any, root: str, earlier: list[str]) -> Step:
    path = ("steps", name)
    if not STEP_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a step: it becomes a folder",
            where=document.where(path),
            fix="use letters, digits, '-', '_' and '.'",
        )
    if not isinstance(step, dict) or "command" not in step:
        raise UsageError(
            "a step needs a 'command'", where=document.where(path), fix="command: train"
        )
    if "output" in step:
        raise UsageError(
            "a step's output is its own folder in the recipe's output",
            where=document.where((*path, "output")),
            fix="leave it out; other steps name it as ${" + name + "}",
        )
    verb = get_verb(str(step["command"]), where=document.where((*path, "command")))

    def resolve(value: Any, at: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: resolve(item, (*at, str(key))) for key, item in value.items()}
        if isinstance(value, list):
            return [resolve(item, (*at, str(index))) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value

        def folder(match: re.Match[str]) -> str:
            wanted = match.group(1)
            if wanted not in earlier:
                raise UsageError(
                    f"no earlier step is named {wanted!r}",
                    where=document.where(at),
                    fix=hint(wanted, earlier),
                )
            return str(Path(root) / wanted)

        return REFERENCE.sub(folder, value)

    keys = {
        key: resolve(value, (*path, str(key))) for key, value in step.items() if key != "command"
    }
    keys["output"] = str(Path(root) / name)
    spec = build_spec(verb.spec(), keys, document, path)
    return Step(name, spec)


def _mapping(document: Document) -> dict[str, Any]:
    if not isinstance(document.values, dict):
        raise UsageError("a recipe is a mapping of keys", where=document.source)
    return document.values


def _text(document: Document, values: dict[str, Any], key: str, default: str) -> str:
    value = values.get(key, default)
    if not isinstance(value, str) or not value:
        if key == "description" and value == "":
            return value
        raise UsageError(f"{key!r} must be text", where=document.where([key]))
    return value
