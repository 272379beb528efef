"""Reading YAML strictly: safe types, no duplicate keys, and the line of every key.

YAML 1.2's core rules for numbers and booleans: `1e-4` is a number and `on` is a string, which
PyYAML's YAML 1.1 rules have the other way round.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tfcli.errors import Problem, UsageError
from tfcli.limits import MAX_RECIPE, MAX_RECIPE_KEYS

MAX_BYTES, MAX_KEYS = MAX_RECIPE, MAX_RECIPE_KEYS
CONSTRUCTION = (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError, KeyError)
"""What PyYAML raises for text that is not YAML, and for values that do not fit their tag."""
UNQUOTED = re.compile(r"([\[{,:]\s*|^\s*)(\$\{[^}\"']*\}[^\s,\]}\"']*)")
"""A reference between the brackets of a list or a mapping on one line, without quotes."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars; `document` below adds the duplicate check."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag.rsplit(":", 1)[1] in ("null", "merge")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
# PyYAML's own constructors read 1.2's `010` as octal and trip over `1e5`; Python reads both right.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
_Loader.add_constructor(
    "tag:yaml.org,2002:float",
    lambda _, node: float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan")),
)


@dataclass(frozen=True)
class Document:
    """A parsed file: its values, and where each key stands."""

    source: str
    values: Any
    lines: dict[tuple[str, ...], int]

    def where(self, path: tuple[str, ...] | list[str]) -> str:
        """`file:line: dotted.path` of a key, or of the nearest key around it."""
        keys = tuple(str(part) for part in path)
        for length in range(len(keys), 0, -1):
            line = self.lines.get(keys[:length])
            if line:
                return f"{self.source}:{line}: {'.'.join(keys)}"
        return f"{self.source}: {'.'.join(keys)}" if keys else self.source

    def line_of(self, problem: Problem) -> int:
        """The line that an error of this document is about; 0 where it is about all of it."""
        place = (problem.where or "").removeprefix(f"{self.source}:").partition(":")[0]
        return int(place) if place.isdecimal() else 0


def parse_scalar(text: str) -> Any:
    """The value of a `--set key=VALUE` flag, read as YAML."""
    try:
        return parse_document(text, "--set").values if text.strip() else None
    except UsageError as error:
        raise UsageError(
            error.what, where=f"--set {text[:60]}", fix="put it in quotes", code="usage.wrong_value"
        ) from error


def read_document(path: Path) -> Document:
    """Read a YAML or JSON file.

    Raises:
        UsageError: missing, unreadable, too large, not YAML, or with a duplicate key; the message
            names the file and the line.
    """
    try:
        text = read_text_file(path, "recipe")
    except FileNotFoundError:
        raise UsageError(
            "there is no such recipe",
            where=str(path),
            fix="tfcli recipe list",
            code="recipe.missing",
        ) from None
    return parse_document(text, str(path))


def read_text_file(path: Path, kind: str) -> str:
    """The text of a small file that a person wrote.

    Args:
        kind: what it holds, for errors.

    Raises:
        UsageError: unreadable or too large.
        FileNotFoundError: there is none.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise _unreadable(f"a {kind} is a regular file", str(path))
        if found.st_size > MAX_BYTES:
            what = f"the {kind} is {found.st_size:,} bytes; at most {MAX_BYTES:,}"
            raise _unreadable(what, str(path))
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(f"not readable as text: {error}", str(path)) from error


def _unreadable(what: str, where: str, fix: str | None = None) -> UsageError:
    return UsageError(what, where=where, fix=fix, code="recipe.unreadable")


def parse_document(text: str, source: str, kind: type[yaml.SafeLoader] = _Loader) -> Document:
    """Parse YAML text; `source` names it in errors. See `read_document`.

    Args:
        kind: the rules by which scalars and tags are read.
    """
    loader = None
    try:
        loader = kind(text)
        node = loader.get_single_node()
        lines: dict[tuple[str, ...], int] = {}
        if node is None:
            return Document(source, {}, lines)
        _note_lines(node, (), source, lines)
        return Document(source, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        if UNQUOTED.search(line):
            # YAML takes the { for the beginning of a mapping.
            raise _unreadable(
                "not readable as YAML: a ${...} inside of brackets stands without quotes",
                place,
                f"write {UNQUOTED.sub(_quoted, line).strip()}",
            ) from error
        raise _unreadable(f"not readable as YAML: {error.problem}", place) from error
    except CONSTRUCTION as error:
        raise _unreadable(f"not readable as YAML: {error}", source) from error
    finally:
        if loader is not None:
            loader.dispose()


def _quoted(found: re.Match[str]) -> str:
    return f'{found[1]}"{found[2]}"'


def _note_lines(
    node: yaml.Node, path: tuple[str, ...], source: str, lines: dict[tuple[str, ...], int]
) -> None:
    if len(lines) > MAX_KEYS:
        raise _unreadable(f"more than {MAX_KEYS:,} keys once its aliases are expanded", source)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _unreadable("a key must be a word", f"{source}:{line}")
            name = key.value
            if name in seen and name != "<<":
                raise UsageError(
                    f"the key {name!r} is given twice (first on line {seen[name]})",
                    where=f"{source}:{line}: {'.'.join((*path, name))}",
                    fix="keep one of them",
                    code="usage.given_twice",
                )
            seen[name] = line
            lines[(*path, name)] = line
            _note_lines(value, (*path, name), source, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, str(index))] = item.start_mark.line + 1
            _note_lines(item, (*path, str(index)), source, lines)
