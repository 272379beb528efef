"""Results on stdout, all else on stderr; progress in a terminal, in a log, and not at all."""

import pytest

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
