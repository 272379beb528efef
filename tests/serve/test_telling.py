"""Thoughts, words and calls of a turn, told apart however its text is cut."""

from __future__ import annotations

import pytest

from tests.serve.test_tools import CALL, WEATHER
from tfcli.serve.ask import Piece, Token
from tfcli.serve.tools.answer import Answer
from tfcli.serve.tools.channels import Channels
from tfcli.serve.tools.families import form_of
from tfcli.serve.tools.manner import CHANNELS, THINK, Manner, manner_of
from tfcli.serve.tools.telling import Said, Turn

HERMES = form_of("<tool_call>")
HARMONY = form_of("<|channel|> <|message|>")
USE = f'<tool_call>{{"name": "weather", "arguments": {WEATHER}}}</tool_call>'
ANALYSIS = "<|channel|>analysis<|message|>Is it cold?<|end|><|start|>assistant"
PREAMBLE = "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant"
TO_WEATHER = (
    f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{WEATHER}<|call|>"
)
TURNS = {
    "words": (lambda: Turn(THINK, None), "It is <b>cold</b>.", Said("", "It is <b>cold</b>.")),
    "thoughts": (
        lambda: Turn(THINK, None),
        "<think>\nIs it cold?\n\nYes.\n</think>\n\nIt is cold.",
        Said("Is it cold?\n\nYes.", "It is cold."),
    ),
    "no thoughts": (lambda: Turn(THINK, None), "<think>\n\n</think>\n\nIt is.", Said("", "It is.")),
    "begun by the prompt": (
        lambda: Turn(THINK, None, opened=True),
        "\nIs it cold?\n</think>\nIt is.",
        Said("Is it cold?", "It is."),
    ),
    "cut in thoughts": (
        lambda: Turn(THINK, HERMES, opened=True),
        f"Is it </thin {USE}",
        Said(f"Is it </thin {USE}"),
    ),
    "cut in the mark": (lambda: Turn(THINK, None), "<thi", Said("", "<thi")),
    "a call": (
        lambda: Turn(THINK, HERMES),
        f"<think>Is it cold?</think>\n\nLet me look.{USE}",
        Said("Is it cold?", "Let me look.", (CALL,)),
    ),
    "one call of two": (
        lambda: Turn(None, HERMES, several=False),
        USE + USE,
        Said("", "", (CALL,)),
    ),
    "channels": (
        lambda: Channels(None),
        f"{ANALYSIS}<|channel|>final<|message|>It is cold.<|return|>",
        Said("Is it cold?", "It is cold."),
    ),
    "a call in channels": (
        lambda: Channels(HARMONY),
        f"{ANALYSIS}{PREAMBLE}{TO_WEATHER}",
        Said("Is it cold?", "Let me look.", (CALL,)),
    ),
    "a call whose header begins with it": (
        lambda: Channels(HARMONY),
        f" to=functions.weather<|channel|>commentary json<|message|>{WEATHER}",
        Said("", "", (CALL,)),
    ),
    "no call after all": (
        lambda: Channels(HARMONY),
        "<|channel|>commentary to=functions.weather<|message|>Oslo?<|call|>",
        Said("", "Oslo?"),
    ),
    "cut in a channel": (
        lambda: Channels(None),
        f"{ANALYSIS}<|channel|>final<|message|>It is <|en",
        Said("Is it cold?", "It is <|en"),
    ),
    "cut in a header": (lambda: Channels(None), f"{ANALYSIS}<|channel|>fin", Said("Is it cold?")),
}


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_parts_of_a_turn_are_told_apart(name, size):
    made, text, said = TURNS[name]
    answer = Answer(made())
    pieces = [Piece(text[at : at + size], (Token(1),)) for at in range(0, len(text), size)]
    assert answer.whole(pieces) == said
    assert answer.written == len(pieces)
    assert bool(answer.thought) == bool(said.thoughts) or name == "no thoughts"


@pytest.mark.parametrize(
    ("template", "manner"),
    [
        ("{% if tools %}<tool_call>{% endif %}", Manner(HERMES)),
        ("{{ m.content.split('</think>')[-1] }}", Manner(None, THINK)),
        ("<|start|>assistant<|channel|>final<|message|>", Manner(HARMONY, CHANNELS)),
        ("{{ messages }}", Manner()),
    ],
)
def test_a_template_says_how_its_model_writes(template, manner):
    assert manner_of(template) == manner
