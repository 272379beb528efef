"""A recipe file: one command with its keys, or named steps that feed each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tfcli.errors import Problem, UsageError, hint, raise_found
from tfcli.recipe.apart import overlaps
from tfcli.recipe.document import Document, read_document
from tfcli.recipe.overrides import overlay
from tfcli.recipe.record import missing_inputs
from tfcli.recipe.spec import Spec
from tfcli.recipe.sweep_section import SweepSection
from tfcli.recipe.validate import build_spec, canonical_key, try_spec
from tfcli.recipe.verbs import VERBS, get_verb

SHIPPED = Path(__file__).parent.parent / "recipes"
SUFFIXES = (".yaml", ".yml", ".json")
HEADER_KEYS = ("name", "description", "output", "steps", "sweep")
STEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
REFERENCE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Step:
    """One step, ready to run: references are resolved and the spec is checked."""

    name: str
    spec: Spec


@dataclass(frozen=True)
class Recipe:
    """What a recipe file comes to: its steps, in the order they run.

    Args:
        output: the folder of the steps' folders; of a one-command recipe the folder that it makes.
        owns_folders: whether the steps' folders are the recipe's own, as those of a recipe of steps
            are, so that a changed step may replace what it made before.
    """

    name: str
    description: str
    output: str
    steps: tuple[Step, ...]
    owns_folders: bool = True

    @property
    def family_files(self) -> dict[str, str]:
        """The steps that run a Python file of families -> that file."""
        files = {step.name: getattr(step.spec, "family_file", None) for step in self.steps}
        return {name: file for name, file in files.items() if file is not None}

    def named(self, name: str, flag: str) -> int:
        """The place of a step.

        Raises:
            UsageError: there is none of this name.
        """
        names = [step.name for step in self.steps]
        if name not in names:
            raise UsageError(
                f"the recipe has no step {name!r}",
                where=flag,
                fix=hint(name, names),
                code="usage.wrong_value",
            )
        return names.index(name)

    def part(self, only: Sequence[str] = (), begin: str | None = None) -> Recipe:
        """The recipe with some of its steps: those of `only`, or those from `begin` on."""
        if only and begin:
            raise UsageError("--only and --from exclude each other", fix="give one of them")
        if only:
            places = sorted({self.named(name, "--only") for name in only})
            return replace(self, steps=tuple(self.steps[place] for place in places))
        return replace(self, steps=self.steps[self.named(begin, "--from") if begin else 0 :])


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that tfcli ships."""
    path = Path(name)
    # A folder of the name of a shipped recipe is no recipe.
    if path.suffix in SUFFIXES or path.is_file():
        return path
    known = shipped_recipes()
    if name in known:
        return known[name]
    raise UsageError(f"there is no recipe {name!r}", fix=hint(name, known), code="recipe.missing")


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
            code="recipe.wrong_kind",
        )
    keys = {key: value for key, value in values.items() if key not in ("command", "description")}
    named = values.get("command", verb)
    if named is None:
        raise UsageError(
            "'command' is missing: a recipe is for one command, or has steps",
            where=document.source,
            fix="command: train",
            code="recipe.wrong_kind",
        )
    if verb and named != verb:
        raise UsageError(
            f"this recipe is for {named!r}, not for {verb!r}",
            where=document.where(["command"]),
            fix=f"tfcli {named} {document.source}",
            code="recipe.wrong_kind",
        )
    get_verb(str(named), where=document.where(["command"]))
    return str(named), keys


def load_recipe(
    path: Path,
    *,
    output: str | None = None,
    sets: dict[str, Any] | None = None,
    inputs: bool = False,
) -> Recipe:
    """Read and check a recipe, of steps or for one command, before anything runs.

    Args:
        path: the file.
        output, sets, inputs: see `check_recipe`.

    Raises:
        UsageError: everything that is wrong with any key of any step.
    """
    return check_recipe(read_document(path), path.stem, output=output, sets=sets, inputs=inputs)


def check_recipe(
    document: Document,
    name: str,
    *,
    output: str | None = None,
    sets: dict[str, Any] | None = None,
    inputs: bool = False,
    folders: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe that a document holds.

    Args:
        name: of a recipe that has none.
        output: put the steps' folders here instead of the recipe's own `output`.
        sets: dotted overrides, for example `{"steps.train.max_steps": 10}`; for one command
            `{"max_steps": 10}`.
        inputs: check too that the inputs from outside exist.
        folders: step -> the name of its folder, where that is not the step's.

    Raises:
        UsageError: everything that is wrong with any key of any step.
    """
    if not is_recipe_of_steps(document):
        return _one_command(document, name, output, sets or {}, inputs)
    values = with_sets(document, sets or {})
    found: list[Problem] = []
    for key in values:
        if key not in HEADER_KEYS:
            where, fix = document.where([str(key)]), hint(str(key), HEADER_KEYS)
            found.append(
                UsageError(f"unknown key {key!r}", where=where, fix=fix, code="usage.unknown_key")
            )
    texts = {}
    for key, default in (("name", name), ("description", ""), ("output", "")):
        texts[key] = _text(document, values, key, default, found)
    steps = values["steps"]
    if not isinstance(steps, dict) or not steps:
        what = "'steps' must map step names to steps"
        found.append(UsageError(what, where=document.where(["steps"]), code="recipe.wrong_step"))
        steps = {}
    if "sweep" in values:
        problems: list[UsageError] = []
        try_spec(SweepSection, values["sweep"], problems, document, ("sweep",))
        found += problems
    root = output or texts["output"] or f"runs/{texts['name']}"
    makes = [str(name) for name in steps] if inputs else None
    reader = _StepReader(document, steps, root, found, makes, folders or {})
    done = [reader.read(str(name), step) for name, step in steps.items()]
    raise_found(sorted(found, key=document.line_of), where=document.source)
    ready = tuple(step for step in done if step is not None)
    return Recipe(texts["name"], texts["description"], root, ready)


def _one_command(
    document: Document, name: str, output: str | None, sets: dict[str, Any], inputs: bool
) -> Recipe:
    keys = with_sets(document, sets)
    cls = get_verb(single_command(document)[0]).spec()
    if output is not None:
        keys["output"] = output
    spec = build_spec(cls, keys, document)
    if inputs:
        outputs = [target for target in [spec.target()] if target is not None]
        raise_found([*missing_inputs(spec), *overlaps(spec, outputs)], where=document.source)
    return recipe_of(spec, name, str(_mapping(document).get("description", "")))


def recipe_of(spec: Spec, name: str, description: str = "") -> Recipe:
    """A spec as a recipe: of one step, or of those that it stands for."""
    steps = spec.steps() or {spec.verb: spec}
    made = tuple(Step(name, step) for name, step in steps.items())
    return Recipe(name, description, spec.target() or "", made, owns_folders=False)


def with_sets(document: Document, sets: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a recipe with dotted overrides laid over them: of one for a single command those
    of the command, else `steps` and those beside it."""
    named = canonical_sets(document, sets)
    if is_recipe_of_steps(document):
        return overlay(_mapping(document), named)
    verb, keys = single_command(document)
    cls = get_verb(verb).spec()
    keys = {canonical_key(cls, str(key)): value for key, value in keys.items()}
    return overlay(keys, named)


def canonical_sets(document: Document, sets: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted overrides under the names that the keys have: `steps.loss.window` becomes
    `steps.loss.sequence_length`, as the step's command has it."""
    if not is_recipe_of_steps(document):
        cls = get_verb(single_command(document)[0]).spec()
        return {canonical_key(cls, key): value for key, value in sets.items()}
    steps = document.values["steps"]
    found = {}
    for key, value in sets.items():
        head, _, rest = key.removeprefix("steps.").partition(".")
        step = steps.get(head) if key.startswith("steps.") and isinstance(steps, dict) else None
        command = step.get("command") if isinstance(step, dict) else None
        if rest and command in VERBS:
            key = f"steps.{head}.{canonical_key(VERBS[command].spec(), rest)}"
        found[key] = value
    return found


@dataclass
class _StepReader:
    """Reads one step after the other; what is wrong goes into `found`.

    Args:
        steps: all of them, with overrides.
        root: the folder of the steps' folders.
        makes: the names of all steps, where the inputs from outside are looked at: they must exist
            and lie apart from what the steps make.
        folders: step -> the name of its folder, where that is not the step's.
    """

    document: Document
    steps: Mapping[str, Any]
    root: str
    found: list[Problem]
    makes: list[str] | None
    folders: Mapping[str, str]
    earlier: list[str] = field(default_factory=list)

    def read(self, name: str, step: Any) -> Step | None:
        path = ("steps", name)
        before, wrong = tuple(self.earlier), len(self.found)
        self.earlier.append(name)
        if not STEP_NAME.fullmatch(name):
            self._refuse(
                f"{name!r} cannot name a step: it becomes a folder",
                path,
                "use letters, digits, '-', '_' and '.'",
            )
        if not isinstance(step, dict) or "command" not in step:
            self._refuse("a step needs a 'command'", path, "command: train")
            return None
        if "output" in step:
            self._refuse(
                "a step's output is its own folder in the recipe's output",
                (*path, "output"),
                "leave it out; other steps name it as ${" + name + "}",
            )
        known = len(self.found)
        keys = {
            str(key): self._resolve(value, (*path, str(key)), before)
            for key, value in step.items()
            if key not in ("command", "output")
        }
        keys["output"] = self._target(name)
        command = str(step["command"])
        try:
            verb = get_verb(command, where=self.document.where((*path, "command")))
        except UsageError as error:
            self.found.append(error)
            return None
        if self.makes is not None and len(self.found) == known:
            self._look_for_inputs(verb.spec(), keys, path, before, self.makes)
        problems: list[UsageError] = []
        spec = try_spec(verb.spec(), keys, problems, self.document, path)
        self.found += problems
        if spec is not None and spec.steps():
            self._refuse(
                "this stands for several steps, and is no step of a recipe",
                path,
                f"give it to tfcli {command}, or name its steps here",
            )
        return None if spec is None or len(self.found) > wrong else Step(name, spec)

    def _look_for_inputs(
        self,
        cls: type[Spec],
        keys: dict[str, Any],
        path: tuple[str, ...],
        before: tuple[str, ...],
        makes: list[str],
    ) -> None:
        values = {canonical_key(cls, key): value for key, value in keys.items()}
        coming, outputs = (tuple(self._target(name) for name in names) for names in (before, makes))
        problems = [
            *missing_inputs(values, coming=coming, cls=cls),
            *overlaps(values, outputs, coming=coming, cls=cls),
        ]
        for problem in problems:
            key = tuple((problem.where or "").split("."))
            problem.where = self.document.where((*path, *key))
            self.found.append(problem)

    def _target(self, name: str) -> str:
        """What a step makes: a folder of its name, or a file of its name and the verb's suffix."""
        step = self.steps.get(name)
        command = step.get("command") if isinstance(step, dict) else None
        verb = VERBS.get(command) if isinstance(command, str) else None
        suffix = verb.spec().suffix if verb is not None else None
        return str(Path(self.root) / f"{self.folders.get(name, name)}{suffix or ''}")

    def _refuse(self, what: str, path: tuple[str, ...], fix: str) -> None:
        where = self.document.where(path)
        self.found.append(UsageError(what, where=where, fix=fix, code="recipe.wrong_step"))

    def _resolve(self, value: Any, at: tuple[str, ...], earlier: tuple[str, ...]) -> Any:
        """A value with what earlier steps make in place of `${name}`."""
        if isinstance(value, dict):
            return {k: self._resolve(item, (*at, str(k)), earlier) for k, item in value.items()}
        if isinstance(value, list):
            return [self._resolve(v, (*at, str(n)), earlier) for n, v in enumerate(value)]
        if not isinstance(value, str):
            return value

        def folder(match: re.Match[str]) -> str:
            wanted = match.group(1)
            if wanted not in earlier:
                problem = UsageError(
                    f"no earlier step is named {wanted!r}",
                    where=self.document.where(at),
                    fix=hint(wanted, earlier),
                    code="recipe.unknown_reference",
                )
                self.found.append(problem)
            return self._target(wanted)

        return REFERENCE.sub(folder, value)


def _mapping(document: Document) -> dict[str, Any]:
    if not isinstance(document.values, dict):
        raise UsageError(
            "a recipe is a mapping of keys", where=document.source, code="recipe.unreadable"
        )
    return document.values


def _text(
    document: Document, values: dict[str, Any], key: str, default: str, found: list[Problem]
) -> str:
    value = values.get(key, default)
    if isinstance(value, str) and (value or value == default):
        return value
    where = document.where([key])
    found.append(UsageError(f"{key!r} must be text", where=where, code="usage.wrong_value"))
    return default
