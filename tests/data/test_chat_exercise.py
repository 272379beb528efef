"""Conversations made of headings and the paragraphs below them."""

from __future__ import annotations

import json

from tfcli.commands.app import run
from tfcli.data.chat_exercise import chat_rows
from tfcli.data.documents import Document

TEXT = """\
The "assert" statement
**********************

   assert_stmt ::= "assert" expression

Assert statements are a convenient way to insert
debugging assertions.

They are not asked about twice.

## Empty

## Names

Too short.

A name refers to an object that is bound to it.
"""


def test_each_heading_is_asked_about_and_the_prose_below_it_answers():
    found = chat_rows(Document("a", TEXT))
    assert [each["messages"] for each in found] == [
        [
            {"role": "user", "content": 'What is said about The "assert" statement?'},
            {
                "role": "assistant",
                "content": "Assert statements are a convenient way to insert debugging assertions.",
            },
        ],
        [
            {"role": "user", "content": "What is said about Names?"},
            {"role": "assistant", "content": "A name refers to an object that is bound to it."},
        ],
    ]
    assert [each["id"] for each in found] == ["a:1", "a:2"]


def test_pythons_reference_becomes_conversations_of_which_no_topic_is_in_two_splits(
    tmp_path, capsys
):
    out = tmp_path / "chats"
    assert run(["data", "python-docs", str(out), "--exercise", "chats", "--json", "-q"]) == 0
    counts = json.loads(capsys.readouterr().out)["rows"]
    topics = {}
    for name, count in counts.items():
        rows = [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        assert count == len(rows) > 0
        topics[name] = {row["id"].split(":")[0] for row in rows}
    assert counts["train"] > 100
    assert not topics["train"] & (topics["validation"] | topics["test"])


def test_no_conversations_are_made_of_text_without_headings(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("Only prose, and enough of it for an answer.")
    arguments = ["data", str(tmp_path / "a.txt"), str(tmp_path / "o"), "--exercise", "chats"]
    assert run([*arguments, "--validation", "0", "--test", "0"]) == 1
    assert "nothing in the documents that chats are made of" in capsys.readouterr().err
