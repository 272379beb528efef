"""Small tasks made of texts."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from tfcli.commands.app import run
from tfcli.data.documents import Document
from tfcli.data.exercises import EXERCISES, exercise_rows
from tfcli.data.spec import DataSpec

PARAGRAPHS = (
    'The form, "assert x", is a test of "x" and y.',
    '   stmt ::= "assert" expression',
    "   if a is not b:\n       return a + b",
    "Too short.",
)


def rows(kind: str, seed: int = 0) -> list[dict]:
    return exercise_rows(kind, [Document("a", "\n\n".join(PARAGRAPHS))], seed)


def test_answers_follow_from_the_text():
    assert [row["label"] for row in rows("labels")] == ["prose", "grammar", "code"]
    tags = dict(zip(rows("tags")[2]["tokens"], rows("tags")[2]["tags"], strict=True))
    assert tags["if"] == "KEYWORD" and tags["a"] == "OTHER" and tags["+"] == "MARK"
    assert rows("tags")[0]["tags"][0] == "CAPITAL"
    assert rows("targets")[0]["target"] == "capital other mark mark keyword"
    first, second = rows("questions")
    for row, answer in ((first, "assert x"), (second, "assert")):
        start = row["answers"]["answer_start"][0]
        assert row["answers"]["text"] == [answer]
        assert row["context"][start : start + len(answer)] == answer
    for row in rows("preferences"):
        assert row["chosen"] != row["rejected"]
        assert sorted(row["chosen"].split()) == sorted(row["rejected"].split())
        assert row["prompt"] + row["chosen"] == row["text"]
    for row in rows("judgements"):
        assert row["label"] == (row["prompt"] + row["completion"] == row["text"])
    for row in rows("choices"):
        assert f"{row['question']} {row['choices'][row['label']]}" == row["text"]
    half = rows("halves")[0]
    assert half["anchor"].split()[:2] == ["The", '"assert'] and half["positive"][:5] == "form,"
    assert rows("preferences") == rows("preferences") != rows("preferences", seed=1)


@pytest.mark.parametrize("kind", EXERCISES)
def test_python_docs_have_rows_in_every_split(kind, tmp_path, capsys):
    out = tmp_path / "rows"
    assert run(["data", "python-docs", str(out), "--exercise", kind, "--json", "--quiet"]) == 0
    counts = json.loads(capsys.readouterr().out)["rows"]
    for split, count in counts.items():
        lines = (out / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == count >= 40
        assert all(json.loads(line)["text"] for line in lines)


def test_the_spec_names_every_exercise():
    annotation = DataSpec.model_fields["exercise"].annotation
    assert set(get_args(get_args(annotation)[0])) == {"chats", *EXERCISES}
