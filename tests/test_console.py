"""Results on stdout, all else on stderr; progress in a terminal, in a log, and not at all."""

import json

import pytest
from rich.table import Table
from rich.text import Text

from tfcli import console as module
from tfcli.console import Console


def work(console: Console) -> None:
    with console.progress("train", total=4, unit="step") as bar:
        for step in range(4):
            bar.show(loss=f"{4 - step}.0")
            bar.advance()


def test_notes_and_details_go_to_stderr_when_they_are_wanted(capsys):
    for console in (Console(), Console(verbosity=1), Console(quiet=True, verbosity=1)):
        console.note("note")
        console.detail("detail")
        console.warn("look")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.split() == [
        "note", "warning:", "look",
        "note", "detail", "warning:", "look",
        "warning:", "look",
    ]  # fmt: skip


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    clock = iter(range(0, 100, 7))
    monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    work(Console())
    assert capsys.readouterr().err.splitlines() == ["train 3/4  loss 2.0  7 s left"]


@pytest.mark.parametrize("console", [Console(quiet=True), Console.silent()])
def test_quiet_says_nothing(console, capsys):
    work(console)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_figures(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    work(Console())
    err = capsys.readouterr().err
    assert "4/4" in err and "loss 1.0" in err


EVIL = "a\x1b]0;owned\x07\x9b\u202e\u2066b[red][/x]"
SPELT = r"a\x1b]0;owned\x07\x9b\u202e\u2066b[red][/x]"


def test_names_are_spelt_out_whatever_prints_them(capsys, monkeypatch):
    """A name from an archive could set the window's title, hide text or end the command."""
    monkeypatch.setenv("COLUMNS", "200")
    console = Console(verbosity=1)
    table = Table("column", title=EVIL)
    table.add_row(EVIL)
    console.out.print(Text(EVIL))
    console.out.print(EVIL, style="bold")
    console.out.print(table)
    console.note(EVIL)
    console.detail(EVIL)
    console.warn(EVIL)
    captured = capsys.readouterr()
    assert captured.out.count(SPELT) == 3 and captured.err.count(SPELT) == 3
    for char in "\x1b\x07\x9b\u202e\u2066":
        assert char not in captured.out + captured.err


def test_names_are_spelt_out_in_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with Console().progress(EVIL, total=1) as bar:
        bar.show(model=EVIL)
        bar.advance()
    err = capsys.readouterr().err
    assert SPELT in err and "\x1b]0;" not in err and "\u202e" not in err


def test_letters_of_every_language_stay():
    text = "é 中 عرب\u200cعرب 👩\u200d🚀\xa0x\n"
    assert module.visible(text) == text
    assert module.visible("a\tb\u2028") == r"a\tb\u2028"
    assert json.loads(f'"{module.visible(chr(0xD800))}"') == "\ud800"
