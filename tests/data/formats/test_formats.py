"""What rows of each format say, and how a format is recognised."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from tfcli.data.formats.registry import FORMATS, find_format, read_sample, unknown_format
from tfcli.data.formats.sample import Chat, Pair, Text
from tfcli.data.rows import Row
from tfcli.errors import UsageError, WorkError
from tfcli.train.data_spec import RowsSection

ASKED = {"role": "user", "content": "Warm?"}
ANSWERED = {"role": "assistant", "content": "21 °C"}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
TOLD = {"role": "tool", "content": "21"}
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


def read(values, columns=None, name=None):
    row = Row(values, "d.jsonl:7")
    found = find_format(row, columns or {}, name)
    assert found is not None
    return read_sample(row, found, columns or {})


@pytest.mark.parametrize(
    ("values", "sample"),
    [
        ({"text": "x"}, Text("x")),
        ({"prompt": "q", "completion": "a"}, Pair("q", "a")),
        ({"messages": [ASKED, ANSWERED]}, Chat([ASKED, ANSWERED])),
        ({"messages": json.dumps([ASKED, ANSWERED])}, Chat([ASKED, ANSWERED])),
        (
            {
                "conversations": [
                    {"from": "system", "value": "Be brief."},
                    {"from": "human", "value": "Warm?"},
                    {"from": "gpt", "value": "21 °C"},
                ]
            },
            Chat([{"role": "system", "content": "Be brief."}, ASKED, ANSWERED]),
        ),
    ],
)
def test_a_format_is_recognised_by_its_columns(values, sample):
    assert read(values) == sample


def test_columns_of_other_names_are_mapped():
    values = {"question": "q", "reply": "a"}
    assert find_format(Row(values, "d:1"), {}) is None
    assert read(values, {"prompt": "question", "completion": "reply"}) == Pair("q", "a")


def test_tool_calls_have_arguments_that_are_values():
    spelt = {**CALL, "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}}
    written = {"role": "assistant", "content": None, "tool_calls": [spelt]}
    chat = read({"messages": [ASKED, written, TOLD, ANSWERED], "tools": json.dumps(TOOLS)})
    assert chat == Chat([ASKED, CALLED, TOLD, ANSWERED], TOOLS)


def test_a_table_gives_messages_without_calls_an_empty_list_of_them():
    assert read({"messages": [ASKED, {**ANSWERED, "tool_calls": []}]}) == Chat([ASKED, ANSWERED])


def test_sharegpt_has_calls_and_observations():
    values = {
        "conversations": [
            {"from": "human", "value": "Warm?"},
            {"from": "function_call", "value": json.dumps(CALL["function"])},
            {"from": "observation", "value": "21"},
            {"from": "gpt", "value": "21 °C"},
        ],
        "tools": json.dumps(TOOLS),
    }
    assert read(values) == Chat([ASKED, CALLED, TOLD, ANSWERED], TOOLS)


def test_alpaca_is_a_conversation_or_the_text_that_alpaca_was_trained_on():
    chat = read({"instruction": "Add {x}.", "input": "1 + 1", "output": "2"})
    asked = {"role": "user", "content": "Add {x}.\n\n1 + 1"}
    assert chat.messages == [asked, {"role": "assistant", "content": "2"}]
    assert chat.otherwise.prompt.endswith(
        "### Instruction:\nAdd {x}.\n\n### Input:\n1 + 1\n\n### Response:"
    )
    assert "paired with an input" in chat.otherwise.prompt
    assert chat.otherwise.completion == "\n2"
    without = read({"instruction": "Add.", "input": "", "output": "2"})
    assert without.messages[0]["content"] == "Add."
    assert "Input" not in without.otherwise.prompt


def test_a_format_can_be_forced():
    values = {"text": "x", "instruction": "q", "output": "a"}
    assert read(values) == Text("x")
    assert isinstance(read(values, name="alpaca"), Chat)


@pytest.mark.parametrize("name", FORMATS)
def test_the_example_of_a_format_is_of_that_format(name):
    row = Row(json.loads(FORMATS[name].example), "d:1")
    assert find_format(row, {}) is FORMATS[name]
    read_sample(row, FORMATS[name], {})


@pytest.mark.parametrize(
    ("name", "values", "what", "where"),
    [
        ("completion", {"prompt": "q"}, "has no 'completion'", ""),
        ("completion", {"prompt": "q", "completion": 3}, "'completion' is not text, but a nu", ""),
        ("alpaca", {"instruction": "q", "output": None}, "'output' is not text, but null", ""),
        ("messages", {"messages": []}, "has no message", ""),
        ("messages", {"messages": "[x"}, "'messages' is text that is not JSON", ""),
        ("messages", {"messages": {"role": "user"}}, "'messages' is no list, but an object", ""),
        ("messages", {"messages": ["hi"]}, r"messages\[0\] is no object, but a text", ""),
        ("messages", {"messages": [{"content": "x"}]}, "no role", ", messages[0]"),
        ("messages", {"messages": [{"role": "user"}]}, "neither content nor", ", messages[0]"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
         "there are places for more", ""),
        ("messages", {"messages": [ASKED], "tools": "{}"}, "'tools' is no list", ""),
        ("messages", {"messages": [{"role": "assistant", "tool_calls": [
            {"function": {"name": "f", "arguments": "{x"}}]}]}, "arguments' is text", ""),
        ("sharegpt", {"conversations": [{"from": "me", "value": "x"}]}, "from 'me', which", ""),
        ("sharegpt", {"conversations": None}, "has no message", ""),
    ],
)  # fmt: skip
def test_a_row_of_another_form_is_named(name, values, what, where):
    with pytest.raises(WorkError, match=what) as error:
        read_sample(Row(values, "d.jsonl:7"), FORMATS[name], {})
    assert error.value.where == f"d.jsonl:7{where}"


def test_a_later_row_lacks_the_column_under_the_name_that_it_has_in_the_file():
    with pytest.raises(WorkError, match="has no 'question'"):
        read_sample(
            Row({"reply": "a"}, "d:2"),
            FORMATS["completion"],
            {"prompt": "question", "completion": "reply"},
        )


def test_columns_that_nothing_has_are_refused():
    row = Row({"question": "q"}, "d:1")
    with pytest.raises(UsageError, match="'promt' is no column of any format") as error:
        find_format(row, {"promt": "question"})
    assert "prompt" in error.value.fix
    with pytest.raises(UsageError, match="'text' is no column of the format alpaca"):
        find_format(row, {"text": "question"}, "alpaca")
    with pytest.raises(UsageError, match="the first row has no 'qestion'"):
        find_format(row, {"prompt": "qestion"})


def test_a_recipe_can_name_every_format():
    (names, _) = get_args(RowsSection.model_fields["format"].annotation)
    assert set(get_args(names)) == set(FORMATS)


def test_rows_of_no_format_are_told_the_formats():
    error = unknown_format(Row({"question": "q"}, "d:1"))
    assert "'question'" in error.what and '{"prompt": "...", "completion": "..."}' in error.fix
