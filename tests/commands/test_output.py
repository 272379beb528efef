"""What a file says is shown, and does nothing on the terminal."""

from __future__ import annotations

import pytest

from tfcli.commands.output import print_facts, print_problem, print_table
from tfcli.console import Console
from tfcli.errors import WorkError

HOSTILE = "a\x1b[2Jb[bold red]c\r"
SHOWN = r"a\x1b[2Jb[bold red]c\r"


def test_names_from_files_are_shown_without_control_characters_or_markup(
    capfd: pytest.CaptureFixture[str],
) -> None:
    console = Console()
    print_table(console, "Tensors", ["name"], [[HOSTILE]])
    print_facts(console, "Checkpoint", {HOSTILE: HOSTILE})
    print_problem(WorkError(HOSTILE, where=HOSTILE, fix=HOSTILE), console)
    out, err = capfd.readouterr()
    assert "\x1b[2J" not in out + err and "\r" not in out + err
    assert out.count(SHOWN) == 3 and err.count(SHOWN) == 3
