"""From a spec class to a Typer command: every key is a flag, and the spec's text is its help.

`optimizer.lr` becomes `--optimizer.lr`, and `--lr` as long as no other key ends so. Keys that may
be given as words are flags too. Flags that the user leaves out stay out, so that the recipe's
value or the spec's default holds.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from tfcli.commands.help import ARGUMENTS, COMMON, FILES, MACHINE, OPTIONS, Command
from tfcli.commands.output import Show, finish
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.processes import is_first_process
from tfcli.recipe.document import Document, read_document
from tfcli.recipe.execute import execute
from tfcli.recipe.marks import Also, Only, Placeholder, Spellings, mark_of
from tfcli.recipe.overrides import overlay, parse_set
from tfcli.recipe.recipe import SUFFIXES, recipe_of, single_command
from tfcli.recipe.results import RunResult
from tfcli.recipe.spec import (
    EACH,
    Result,
    Spec,
    needs_recipe,
    reads_standard_input,
    role_of,
    walk_fields,
)
from tfcli.recipe.validate import build_spec, canonical_key
from tfcli.recipe.verbs import VERBS


def common(*names: str, help: str, **more: Any) -> Any:
    """A flag of every command, in the group of such flags."""
    return typer.Option(*names, help=help, rich_help_panel=COMMON, **more)


Json = Annotated[bool, common("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, common("--quiet", "-q", help="Print no progress and no notes.")]
Verbose = Annotated[int, common("--verbose", "-v", count=True, help="Say more.")]
Debug = Annotated[bool, common("--debug", help="Show the traceback of an error.")]
Force = Annotated[
    bool, common("--force", help="Do it again, and replace what tfcli made there before.")
]
_IN_FULL = (
    "Before it says that all is up to date, read every input and every finished file again, also "
    "where nothing was written to them since they were last read."
)
VerifyFiles = Annotated[bool, common("--verify-files", "--verify", help=_IN_FULL)]
VerifyFilesAlone = Annotated[bool, common("--verify-files", help=_IN_FULL)]
"""The same where `verify` is a key of the command."""
PushToHub = Annotated[
    str | None,
    common(
        "--push-to-hub",
        metavar="REPO",
        help="Send the finished folder to a repository of the hub, org/name[@branch], which is "
        "made where there is none.",
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Also run the family_file that a recipe names.",
        rich_help_panel=OPTIONS,
    ),
]
Sets = Annotated[
    list[str] | None,
    common("--set", metavar="KEY=VALUE", help="Set any key, such as optimizer.lr=1e-4."),
]

RecipeName = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what each step would do, and do nothing.",
        rich_help_panel=OPTIONS,
    ),
]

ROLES = {"input": "PATH", "data": "DATA", "model": "MODEL", "output": "FOLDER"}
ON_MACHINE = ("dtype", "precision", "device", "attention", "threads", "compile")
"""Keys that say how the machine does the work."""
LONGEST_CHOICE = 30
"""Characters of a flag's choices that stand beside its name; more stand in its text."""
SHORT = {"output": "-o"}
"""Keys whose flags have a letter."""


def spec_command(
    cls: type[Spec],
    show: Show,
    *,
    streamed: Show | None = None,
    several: Show | None = None,
    epilog: str,
) -> typer.Typer:
    """The Typer app of one verb.

    Args:
        cls: the verb's spec class.
        show: prints the result as a short table.
        streamed: for a verb that writes to standard output while it works: prints what is left
            to say then.
        several: for a verb whose spec may stand for several steps: prints the `RunResult` of them.
        epilog: an example, or several, a line each.
    """
    flags = _flags(cls)

    def command(context: typer.Context, **given: Any) -> None:
        shared, words, given = _parted(cls, flags, context, given)
        first = is_first_process()
        console = Console(shared["quiet"] or not first, shared["verbose"], shared["json"])
        sets = parse_set(shared["set_"] or [])
        spec = _spec(cls, words, sets, given)
        if not (shared.get("allow_code", True) or "family_file" in {*given, *sets}):
            spec = _without_code(spec, console)
        repository = shared.get("push_to_hub")
        if repository is not None and first:
            _require_push(spec, repository)
        out = sys.stdout if streamed and first and not console.json else None
        force, anew = shared.get("force", False), shared.get("verify_files", False)
        if several is not None and spec.steps():
            finish(_run_steps(spec, console, force, anew), several, console)
            return
        outcome = execute(spec, console, force=force, anew=anew, out=out)
        if outcome.reused:
            console.note(f"{outcome.output} is up to date (--force to do it again)")
        if first:
            written = streamed if out and not outcome.reused else None
            finish(outcome.result, written or show, console)
        if repository is not None and first:
            _push(outcome.output, repository, cls.verb, console)
        if outcome.result.finding() is not None:
            raise typer.Exit(1)

    return _app_of(cls, command, f"{epilog}\n{json_fields(VERBS[cls.verb].result())}")


def service_command(
    cls: type[Spec], run: Callable[[Any, Console], None], *, epilog: str
) -> typer.Typer:
    """The Typer app of a command that is no step: it makes nothing, and goes on until it is told to
    end. Its keys are flags, and may stand in a recipe, as a verb's.

    Args:
        cls: its spec class.
        run: the work.
        epilog: an example, or several, a line each.
    """
    flags = _flags(cls)

    def command(context: typer.Context, **given: Any) -> None:
        shared, words, given = _parted(cls, flags, context, given)
        spec = _spec(cls, words, parse_set(shared["set_"] or []), given)
        run(spec, Console(shared["quiet"], shared["verbose"], shared["json"]))

    return _app_of(cls, command, epilog)


def _parted(
    cls: type[Spec], flags: dict[str, str], context: typer.Context, given: dict[str, Any]
) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """What was given: flags of every command, words, and keys of this one."""
    shared = {name: given.pop(name) for name in _common(cls)}
    given = {name: value for name, value in given.items() if value not in (None, [])}
    words = [given.pop(name) for name in list(given) if name.startswith("word_")]
    words += context.args  # a recipe takes a place of its own; a list takes many
    return shared, words, {flags[name]: value for name, value in given.items()}


def _app_of(cls: type[Spec], command: Callable[..., None], epilog: str) -> typer.Typer:
    """The app of one command, whose flags are the keys of a spec."""
    app = typer.Typer(add_completion=False)
    parameters = _parameters(cls)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    app.command(
        cls.verb,
        cls=Command,
        help=_help(cls),
        epilog=epilog,
        context_settings={"allow_extra_args": True},
    )(command)
    return app


def _require_push(spec: Spec, repository: str) -> None:
    """Refuse to send what will be no folder, or to where nothing can be sent."""
    from tfcli.hub_files import require_uploads

    if spec.target() is None or spec.steps() or spec.suffix is not None:
        raise UsageError(
            f"this {spec.verb} makes no single folder that could be sent",
            where="--push-to-hub",
            fix="leave it out, and send a folder with tfcli hub upload",
        )
    require_uploads(repository)


def _push(folder: Path | None, repository: str, verb: str, console: Console) -> None:
    """Send a finished folder to the hub; files that are there already are not sent again."""
    from tfcli.hub_files import upload_folder

    assert folder is not None, "it was asked for before the work"
    sent = upload_folder(folder, repository, [], [], message=f"tfcli {verb}", create=True)
    console.note(f"sent to {sent.repo}@{sent.commit}")


def _run_steps(spec: Spec, console: Console, force: bool, anew: bool) -> RunResult:
    """Run the steps that a spec stands for, as `tfcli run` would."""
    from tfcli.commands.run import check_steps, run_steps

    recipe = recipe_of(spec, spec.verb)
    check_steps(recipe, force)
    return run_steps(recipe, console, force=force, own=set(), anew=anew)


def _without_code(spec: Spec, console: Console) -> Spec:
    """The spec without the Python that its recipe names, where a command only looks."""
    file = getattr(spec, "family_file", None)
    if file is None or not spec.only_looks():
        return spec
    console.warn(f"{file} is not run to look at a checkpoint; --allow-code runs it")
    return spec.model_copy(update={"family_file": None})


def json_fields(result: type[Result]) -> str:
    """The line of help that names the fields of a command's JSON."""
    names = ", ".join(["schema", *result.model_fields])
    return f"With --json the fields are: {names} (docs/json.md)."


def _common(cls: type[Spec]) -> dict[str, tuple[Any, Any]]:
    """The flags that every command has: name -> annotation, default."""
    common: dict[str, tuple[Any, Any]] = {"set_": (Sets, None)}
    if "output" in cls.model_fields:
        common["force"] = (Force, False)
        taken = "verify" in cls.model_fields
        common["verify_files"] = (VerifyFilesAlone if taken else VerifyFiles, False)
        common["push_to_hub"] = (PushToHub, None)
    if "family_file" in cls.model_fields and cls.only_looks is not Spec.only_looks:
        common["allow_code"] = (AllowCode, False)
    return common | {
        "json": (Json, False),
        "quiet": (Quiet, False),
        "verbose": (Verbose, 0),
        "debug": (Debug, False),
    }


def _help(cls: type[Spec]) -> str:
    words = " ".join(_word(cls, name) for name in cls.positional)
    alone, recipe = f"tfcli {cls.verb} {words}", f"tfcli {cls.verb} RECIPE.yaml"
    if needs_recipe(cls):
        usage = f"{recipe} {words}".rstrip()
    else:
        usage = f"{alone}, or {recipe}" if words else recipe
    return (
        f"{inspect.getdoc(cls)}\n\n{usage}. Flags override the recipe; "
        "--set reaches the keys that have no flag."
    )


def _spec(cls: type[Spec], words: list[str], sets: dict[str, Any], flags: dict[str, Any]) -> Spec:
    """Flags over --set over the recipe over the defaults."""
    document: Document | None = None
    values: dict[str, Any] = {}
    if words and Path(words[0]).suffix in SUFFIXES:
        document = read_document(Path(words[0]))
        _, values = single_command(document, cls.verb)
        words = words[1:]
    values = {canonical_key(cls, str(key)): value for key, value in values.items()}
    sets = {canonical_key(cls, key): value for key, value in sets.items()}
    # With a recipe that names the model, the words left over fill the keys that it leaves open.
    taken = {*flags, *(values if document else ())}
    names = [name for name in cls.positional if name not in taken]
    many = next((place for place, name in enumerate(names) if _takes_many(cls, name)), None)
    extra = len(words) - len(names)
    filled: list[Any] = list(words)
    if many is not None and many < len(words):
        # A list takes what the keys before and after it leave.
        last = many + max(extra, 0) + 1
        filled[many:last] = [words[many:last]]
    elif extra > 0:
        takes = " ".join(name.upper() for name in names) or "no words"
        raise UsageError(
            f"too many words: {' '.join(words[len(names) :])!r}",
            where=f"tfcli {cls.verb}",
            fix=f"it takes {takes}",
            code="usage.too_many_words",
        )
    given: dict[str, Any] = dict(zip(names, filled, strict=False))
    given |= flags
    for name, word in given.items():
        if (
            word == "-"
            and name in cls.model_fields
            and reads_standard_input(cls.model_fields[name])
        ):
            given[name] = read_standard_input(name)
    values = overlay(values, sets)
    values = overlay(values, given)
    return build_spec(cls, values, document)


def read_standard_input(name: str) -> str:
    """What stands on standard input, without the line end that closes it.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError("standard input is not UTF-8", where=name) from error


def _word(cls: type[Spec], name: str) -> str:
    return name.upper() + ("..." if _takes_many(cls, name) else "")


def _takes_many(cls: type[Spec], name: str) -> bool:
    return get_origin(_plain(cls.model_fields[name].annotation)) is list


def _flags(cls: type[Spec]) -> dict[str, str]:
    """Python parameter name -> dotted key."""
    return {_identifier(key): key for key, field in _flagged(cls) if _flag_type(field)}


def _flagged(cls: type[Spec]) -> list[tuple[str, FieldInfo]]:
    """The keys that may be flags: those of a mapping's entries are named by the recipe."""
    return [(key, field) for key, field in walk_fields(cls) if EACH not in key.split(".")]


def _identifier(key: str) -> str:
    return "key_" + key.replace(".", "__")


def _parameters(cls: type[Spec]) -> list[inspect.Parameter]:
    listed = [_parameter("context", typer.Context, inspect.Parameter.empty)]
    if not cls.positional:
        recipe = typer.Argument(metavar="RECIPE", help="A recipe; flags override its keys.")
        listed.append(_parameter("word_recipe", Annotated[str | None, recipe], None))
    for name in cls.positional:
        # All may be left out on the command line: a recipe gives them. The spec says what is
        # missing. Help shows the flag of the same name instead.
        word = typer.Argument(metavar=_word(cls, name), hidden=True)
        listed.append(_parameter(f"word_{name}", Annotated[str | None, word], None))
    last_parts = Counter(key.rpartition(".")[2] for key, _ in _flagged(cls))
    for key, field in _flagged(cls):
        flag_type = _flag_type(field)
        if flag_type is None:
            continue
        option = typer.Option(
            *_names(key, field, flag_type, alone=last_parts[key.rpartition(".")[2]] == 1),
            help=_describe(key, field),
            show_default=False,
            metavar=_metavar(cls, key, field, flag_type),
            rich_help_panel=_group(cls, key, field),
        )
        listed.append(_parameter(_identifier(key), Annotated[flag_type | None, option], None))
    listed += [_parameter(name, kind, default) for name, (kind, default) in _common(cls).items()]
    return listed


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _names(key: str, field: FieldInfo, flag_type: Any, *, alone: bool) -> list[str]:
    """Every name of a key's flag: its own, those that it also goes by, and its letter.

    Args:
        alone: no other key of the command ends as this one does.
    """
    section, dot, last = key.rpartition(".")
    also = mark_of(field, Also)
    keys = [key, *(f"{section}{dot}{name}" for name in (also.names if also else ()))]
    if section and alone:
        keys.append(last)
    names = ["--" + name.replace("_", "-") for name in keys]
    if flag_type is bool:
        return ["/".join((name, _negated(name))) for name in names]
    return names + ([SHORT[key]] if key in SHORT else [])


def _negated(flag: str) -> str:
    head, dot, last = flag.removeprefix("--").rpartition(".")
    return f"--{head}{dot}no-{last}"


def _group(cls: type[Spec], key: str, field: FieldInfo) -> str:
    """The title that a flag stands under in the help."""
    section = key.rpartition(".")[0]
    only = mark_of(field, Only)
    if key in cls.positional:
        return ARGUMENTS
    if section:
        return section.capitalize()
    if only and not only.is_instead:
        return f"Only with {only.as_flags()}"
    if role_of(field):
        return FILES
    # Without a device a dtype is that of what is written.
    return MACHINE if key in ON_MACHINE and "device" in cls.model_fields else OPTIONS


def _describe(key: str, field: FieldInfo) -> str:
    text, choices = field.description or "", _choices(field)
    if len("|".join(choices)) > LONGEST_CHOICE:
        text = f"One of {', '.join(choices[:-1])} or {choices[-1]}. {text}"
    only, section = mark_of(field, Only), key.rpartition(".")[0]
    if only and (section or only.is_instead):  # others stand under a title that says so
        text += f" Only with {only.as_flags(section)}."
    if field.is_required() or field.default is None:
        return text
    return f"{text} (default: {_shown(field.get_default(call_default_factory=True))})"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)


def _metavar(cls: type[Spec], key: str, field: FieldInfo, flag_type: Any) -> str | None:
    """What stands for the value in the help; None leaves it to the type."""
    if key in cls.positional:
        return _word(cls, key)
    placeholder, role = mark_of(field, Placeholder), role_of(field)
    if placeholder:
        return placeholder.text
    if role:
        return ROLES[role]
    choices = "|".join(_choices(field))
    if choices:
        return choices if len(choices) <= LONGEST_CHOICE else "CHOICE"
    single = get_args(flag_type)[0] if get_origin(flag_type) is list else flag_type
    if single in (int, float):
        return "N" if single is int else "NUMBER"
    return None if flag_type is bool else "TEXT"


def _choices(field: FieldInfo) -> list[str]:
    kind = _plain(field.annotation)
    if get_origin(kind) is list:
        kind = _plain(get_args(kind)[0])
    return list(map(str, get_args(kind))) if get_origin(kind) is Literal else []


def _flag_type(field: FieldInfo) -> Any:
    """The type of a key's flag, or None for mappings, which recipes and --set reach."""
    kind = _plain(field.annotation)
    if get_origin(kind) in (list, tuple):
        item = _plain(get_args(kind)[0])
        if get_origin(item) is Literal:
            return list[str]  # the spec knows which
        return list[item] if item in (str, int, float) else None  # type: ignore[valid-type]
    spellings = mark_of(field, Spellings)
    if spellings and get_origin(kind) is Literal:
        return Literal[(*get_args(kind), *spellings.of)]
    if kind in (str, int, float, bool) or get_origin(kind) is Literal:
        return kind
    return None


def _plain(annotation: Any) -> Any:
    """`Annotated[X, ...] | None` -> `X`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        parts = [_plain(part) for part in get_args(annotation) if part is not type(None)]
        # `int | "auto"`-like unions are read as text and checked by the spec.
        return parts[0] if len(parts) == 1 else str
    return annotation
