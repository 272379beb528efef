"""What a file says is shown, and does nothing on the terminal."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from tfcli.commands.app import run
from tfcli.commands.output import print_facts, print_json, print_problem, print_table
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


def test_json_and_recipes_hold_no_commands_to_a_terminal_either(tmp_path, capsys) -> None:
    value = {"name": "\x9b\u202e\U000e0041 é 中"}
    print_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value and "é 中" in out
    assert not any(char in out for char in "\x9b\u202e\U000e0041")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"command: data\nsource: {tmp_path}  # \u202ehidden\noutput: o\n")
    assert run(["recipe", "show", str(recipe)]) == 0
    assert r"# \u202ehidden" in capsys.readouterr().out


def test_brackets_in_names_are_printed_as_they_are(tmp_path, capsys) -> None:
    """By every command that prints names from files: nothing is escaped twice."""
    name = "decoder[0].weight[x]"
    for side, value in (("a", 1.0), ("b", 2.0)):
        save_file({name: torch.full((2, 2), value)}, tmp_path / f"{side}.safetensors")
    a, b = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    for words in (["inspect", a], ["diff", a, b]):
        assert run(words) == 0
        out = capsys.readouterr().out
        assert name in out and "\\[" not in out


def test_one_thing_is_not_called_several(tmp_path, capsys) -> None:
    (tmp_path / "one.txt").write_text("One paragraph, and no other.")
    words = ["data", str(tmp_path / "one.txt"), str(tmp_path / "out")]
    assert run([*words, "--validation", "0", "--test", "0"]) == 0
    said = "".join(capsys.readouterr())
    assert "1 document" in said and "1 paragraph kept once" in said
    assert not re.search(r"(?<!\d)1 \w+s\b", said)
