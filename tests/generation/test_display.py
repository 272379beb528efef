"""Text reaches a pipe as it is, and a terminal without what would control it."""

from __future__ import annotations

import io
import os

import pytest

from tfcli.generation.display import printable, writer

TEXTS = (
    "all:\n\tcc -o x x.c",
    "d[:key:] :heart: [bold]x[/bold] [red]y",
    "fin\u00a0! \u0645\u06cc\u200c\u062e \u3000\u6f22 \U0001f468\u200d\U0001f469 \u200e x\u00ady",
    "trailing  \n\n",
    "1" * 300 + " " + "2" * 300,
)


def piped(text):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")  # the locale has no say
    for piece in text:
        writer(out)(piece)
    return raw.getvalue()


@pytest.mark.parametrize("text", [*TEXTS, "x\r\ny\rz", "\x07\x0c"])
def test_a_pipe_gets_every_byte(text):
    assert piped(text) == text.encode()


def test_what_begins_a_terminals_commands_does_not_get_through_a_pipe_either():
    assert piped("\x1b[31mred\x9b2J").decode() == "\ufffd[31mred\ufffd2J"


def test_an_output_that_takes_text_alone_as_a_notebook_s_gets_the_text():
    out = io.StringIO()
    writer(out)("é\t\x1b[2J")
    assert out.getvalue() == "é\t\ufffd[2J"


@pytest.mark.parametrize("text", TEXTS)
def test_a_terminal_shows_every_character_that_is_no_control(text):
    assert printable(text) == text
    master, slave = os.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as out:
        writer(out)(text)
        assert os.read(master, 10_000).decode().replace("\r\n", "\n") == text
    os.close(master)


def test_what_would_control_a_terminal_is_replaced():
    assert printable("a\x1b[2Jb\tc\n\x07é\x9b2J\rd") == "a\ufffd[2Jb\tc\n\ufffdé\ufffd2J\ufffdd"
    assert printable("a\r\nb") == "a\nb"


@pytest.mark.parametrize(("no_color", "wanted"), [("", "\x1b[2mx\x1b[22my"), ("1", "xy")])
def test_what_the_model_did_not_make_is_grey_on_a_terminal_with_colours(
    monkeypatch, no_color, wanted
):
    monkeypatch.setenv("NO_COLOR", no_color)
    master, slave = os.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as out:
        write = writer(out)
        write("x", dim=True)
        write("y")
        shown = b""
        while len(shown) < len(wanted):
            shown += os.read(master, 100)
    os.close(master)
    assert shown.decode() == wanted
    assert piped("x") == b"x"
