"""The help of every command, as plain text that fits the terminal.

Names of flags are never cut and no line is longer than the terminal is wide: a description stands
beside its flag where there is room, and under it where there is none.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WIDEST = 100
NARROWEST = 40
EXAMPLE = "tfcli "
"""How a line of an epilog begins that can be run."""
ARGUMENTS, FILES, OPTIONS = "Arguments", "Input and output", "Options"
MACHINE, COMMON = "Machine", "Every command"
FIRST, LAST = (ARGUMENTS, FILES, OPTIONS), (MACHINE, COMMON)
"""The groups of flags that begin and end a page; those of one command stand between them."""


class Command(TyperCommand):
    """A command whose help is the text of this file."""

    def get_help(self, ctx: Any) -> str:
        return _page(self, ctx)


class Group(TyperGroup):
    """A command with subcommands; without one, its help is shown."""

    def get_help(self, ctx: Any) -> str:
        return _page(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)


def _page(command: Any, ctx: Any) -> str:
    width = terminal_width()
    parts = [_usage(command, ctx, width), *_paragraphs(command.help or "", width)]
    for title, rows in _groups(command, ctx).items():
        heading = [_bold(line) for line in wrap(f"{title}:", width, break_on_hyphens=False)]
        parts.append("\n".join([*heading, *_table(rows, width)]))
    lines = [line for line in (command.epilog or "").splitlines() if line]
    examples = [_example(line, width) for line in lines if line.startswith(EXAMPLE)]
    if examples:
        parts.append("\n".join([_bold("Example:"), *examples]))
    parts += [_filled(line, width) for line in lines if not line.startswith(EXAMPLE)]
    return "\n\n".join(parts)


def terminal_width() -> int:
    """Columns that help may fill: the terminal's (or $COLUMNS), within bounds; 80 in a pipe."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((80, 24)).columns))


def _usage(command: Any, ctx: Any, width: int) -> str:
    words = [_place(param) for param in command.params if param.param_type_name == "argument"]
    if isinstance(command, TyperGroup):
        words = ["COMMAND ..."]
    first = " ".join([ctx.command_path, *words, "[OPTIONS]"])
    lines = wrap(first, width - 7, break_long_words=False, break_on_hyphens=False)
    return "\n".join(("Usage: " if n == 0 else " " * 7) + line for n, line in enumerate(lines))


def _place(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _paragraphs(text: str, width: int) -> list[str]:
    return [_filled(part, width) for part in text.split("\n\n") if part.strip()]


def _filled(text: str, width: int, indent: str = "") -> str:
    lines = wrap(" ".join(text.split()), width - len(indent), break_on_hyphens=False)
    return "\n".join(indent + line for line in lines)


def _groups(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Title -> (name, description) of each argument, option and subcommand, in order."""
    groups: dict[str, list[tuple[str, str]]] = {ARGUMENTS: []}
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            groups[ARGUMENTS].append((_place(param), param.help or ""))
            continue
        title = COMMON if param.name == "help" else param.rich_help_panel or OPTIONS
        text = "Show this text." if param.name == "help" else param.help or ""
        groups.setdefault(title, []).append((_names(param, title), text))
    if isinstance(command, TyperGroup):
        commands = command.commands.items()
        groups["Commands"] = [(name, child.help or "") for name, child in commands]
    between = [title for title in groups if title not in (*FIRST, *LAST)]
    return {title: groups[title] for title in (*FIRST, *between, *LAST) if groups.get(title)}


def _names(param: Any, title: str) -> str:
    """`--seed N`; with every name that the flag has."""
    names = ", ".join([*sorted(param.opts, key=_is_letter), *param.secondary_opts])
    value = "" if param.is_flag or param.count else f" {param.metavar or 'TEXT'}"
    if title == ARGUMENTS:
        return f"{param.metavar}, {names}"
    return names + value


def _is_letter(flag: str) -> bool:
    return not flag.startswith("--")


def _table(rows: list[tuple[str, str]], width: int) -> Iterator[str]:
    column = min(26, width // 3)
    for name, text in rows:
        head = wrap(name, width - 2, break_long_words=False, break_on_hyphens=False)
        body = wrap(" ".join(text.split()), width - column, break_on_hyphens=False)
        if len(head) == 1 and len(head[0]) + 4 <= column and body:
            gap = " " * (column - 2 - len(head[0]))
            yield f"  {_cyan(head[0])}{gap}{body.pop(0)}"
        else:
            yield from (f"  {_cyan(line)}" for line in head)
        yield from (" " * column + line for line in body)


def _example(line: str, width: int) -> str:
    """A command that can be copied, over several lines where one is too narrow."""
    # A flag stays with its value.
    words = re.findall(r"(?:-\S+ (?=[^-]))?(?:[^\s'\"]|'[^']*'|\"[^\"]*\")+", line)
    lines, now = [], "  " + words[0]
    for word in words[1:]:
        if len(now) + len(word) + 3 > width:
            lines.append(now + " \\")
            now = "     "
        now += " " + word
    return "\n".join([*lines, now])


def _bold(text: str) -> str:
    return typer.style(text, bold=True) if _coloured() else text


def _cyan(text: str) -> str:
    return typer.style(text, fg="cyan") if _coloured() else text


def _coloured() -> bool:
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )
