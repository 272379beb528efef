"""From a spec class to a Typer command: every key is a flag, and the spec's text is its help.

`optimizer.lr` becomes `--optimizer.lr`, in the help panel `optimizer`. Flags that the user leaves
out stay out, so that the recipe's value or the spec's default holds.
"""

from __future__ import annotations

import inspect
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from tfcli.commands.output import Show, finish
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.processes import is_first_process
from tfcli.recipe.document import Document, read_document
from tfcli.recipe.execute import execute
from tfcli.recipe.overrides import overlay, parse_set
from tfcli.recipe.recipe import SUFFIXES, single_command
from tfcli.recipe.spec import Spec, reads_standard_input, walk_fields
from tfcli.recipe.validate import build_spec
from tfcli.recipe.verbs import VERBS

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Force = Annotated[
    bool, typer.Option("--force", help="Do it again, and replace what tfcli made there before.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any key: --set optimizer.lr=1e-4."),
]


def spec_command(
    cls: type[Spec], show: Show, *, streamed: Show | None = None, epilog: str | None = None
) -> typer.Typer:
    """The Typer app of one verb.

    Args:
        cls: the verb's spec class.
        show: prints the result as a short table.
        streamed: for a verb that writes to standard output while it works: prints what is left
            to say then.
        epilog: examples, shown under the help.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    flags = _flags(cls)

    def command(context: typer.Context, **given: Any) -> None:
        common = {name: given.pop(name) for name in _common(cls)}
        given = {name: value for name, value in given.items() if value not in (None, [])}
        words = [given.pop(name) for name in list(given) if name.startswith("word_")]
        words += context.args  # a recipe takes a place of its own; a list takes many
        given = {flags[name]: value for name, value in given.items()}
        first = is_first_process()
        console = Console(common["quiet"] or not first, common["verbose"], common["json"])
        spec = _spec(cls, words, parse_set(common["set_"] or []), given)
        out = sys.stdout if streamed and first and not console.json else None
        outcome = execute(spec, console, force=common.get("force", False), out=out)
        if outcome.reused:
            console.note(f"{outcome.output} is up to date (--force to do it again)")
        if first:
            written = streamed if out and not outcome.reused else None
            finish(outcome.result, written or show, console)

    command.__signature__ = inspect.Signature(_parameters(cls))  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in _parameters(cls)}
    command.__doc__ = VERBS[cls.verb].summary
    more = {"allow_extra_args": True}
    app.command(cls.verb, epilog=epilog, help=_help(cls), context_settings=more)(command)
    return app


def _common(cls: type[Spec]) -> dict[str, tuple[Any, Any]]:
    """The flags that every command has: name -> annotation, default."""
    common: dict[str, tuple[Any, Any]] = {"set_": (Sets, None)}
    if "output" in cls.model_fields:
        common["force"] = (Force, False)
    return common | {
        "json": (Json, False),
        "quiet": (Quiet, False),
        "verbose": (Verbose, 0),
        "debug": (Debug, False),
    }


def _help(cls: type[Spec]) -> str:
    words = " ".join(_word(cls, name) for name in cls.positional)
    usage = f"tfcli {cls.verb} {words}, or tfcli" if words else "tfcli"
    return (
        f"{VERBS[cls.verb].summary}\n\n"
        f"{usage} {cls.verb} RECIPE.yaml. Flags override the recipe; "
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
    # With a recipe that names the model, the words left over fill the keys that it leaves open.
    names = [name for name in cls.positional if name not in values] if document else cls.positional
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
        )
    given: dict[str, Any] = dict(zip(names, filled, strict=False))
    for name, word in given.items():
        if word == "-" and reads_standard_input(cls.model_fields[name]):
            given[name] = read_standard_input(name)
    values = overlay(values, sets)
    values = overlay(values, {**given, **flags})
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
    return {_identifier(key): key for key, field in walk_fields(cls) if _flag_type(field)}


def _identifier(key: str) -> str:
    return "key_" + key.replace(".", "__")


def _parameters(cls: type[Spec]) -> list[inspect.Parameter]:
    listed = [_parameter("context", typer.Context, inspect.Parameter.empty)]
    for name in cls.positional or ("recipe",):
        # All may be left out on the command line: a recipe gives them. The spec says what lacks.
        field = cls.model_fields.get(name)
        help_text = _describe(field) if field else "A recipe file; flags override its keys."
        metavar = _word(cls, name) if field else name.upper()
        word = typer.Argument(metavar=metavar, help=help_text, show_default=False)
        listed.append(_parameter(f"word_{name}", Annotated[str | None, word], None))
    for key, field in walk_fields(cls):
        flag_type = _flag_type(field)
        if flag_type is None or key in cls.positional:
            continue
        option = typer.Option(
            _declaration(key, flag_type),
            help=_describe(field),
            show_default=False,
            rich_help_panel=key.rpartition(".")[0] or "Options",
        )
        listed.append(_parameter(_identifier(key), Annotated[flag_type | None, option], None))
    listed += [_parameter(name, kind, default) for name, (kind, default) in _common(cls).items()]
    return listed


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _declaration(key: str, flag_type: Any) -> str:
    flag = "--" + key.replace("_", "-")
    if flag_type is bool:
        head, dot, last = flag[2:].rpartition(".")
        return f"{flag}/--{head}{dot}no-{last}"
    return flag


def _describe(field: FieldInfo) -> str:
    text = (field.description or "").replace("[", "\\[")  # rich would take [x] for a style
    if field.is_required() or field.default is None:
        return text
    return f"{text} [dim](default: {field.get_default(call_default_factory=True)})[/dim]"


def _flag_type(field: FieldInfo) -> Any:
    """The type of a key's flag, or None for mappings, which recipes and --set reach."""
    kind = _plain(field.annotation)
    if get_origin(kind) in (list, tuple):
        item = _plain(get_args(kind)[0])
        return list[item] if item in (str, int, float) else None  # type: ignore[valid-type]
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
