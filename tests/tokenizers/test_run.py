"""`tfcli tokenizer` from the command line."""

import json

import pytest

from tfcli.commands.app import run
from tfcli.tokenizers.load import load_tokenizer


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "t.jsonl"
    lines = [f"line {n} says the same words, and {n * n} more" for n in range(50)]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return path


def test_a_vocabulary_of_the_size_asked_for(text, tmp_path, capsys):
    command = ["tokenizer", str(text), str(tmp_path / "tok"), "--vocab-size", "300", "--json"]
    assert run([*command, "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    tokenizer = load_tokenizer(tmp_path / "tok")
    assert result["vocab_size"] == tokenizer.vocab_size == 300
    assert result["special_tokens"] == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    texts = [json.loads(line)["text"] for line in text.read_text().splitlines()]
    tokens = sum(len(tokenizer.encode(t, add_special_tokens=False)) for t in texts)
    assert (result["documents"], result["tokens"]) == (50, tokens)
    assert result["bytes_per_token"] == result["bytes"] / tokens > 1


def test_the_same_text_gives_the_same_file(text, tmp_path):
    for name in ("a", "b"):
        assert run(["tokenizer", str(text), str(tmp_path / name), "--vocab-size", "290", "-q"]) == 0
    first, second = (tmp_path / name / "tokenizer.json" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_a_text_without_enough_merges_is_said(text, tmp_path, capsys):
    command = ["tokenizer", str(text), str(tmp_path / "tok"), "--vocab-size", "9000", "--json"]
    assert run(command) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["vocab_size"] < 9000
    assert "not 9,000" in shown.err


def test_a_vocabulary_below_the_bytes_is_refused(text, tmp_path, capsys):
    assert run(["tokenizer", str(text), str(tmp_path / "tok"), "--vocab-size", "256"]) == 2
    assert "greater than or equal to 257" in capsys.readouterr().err


def test_no_text_is_an_error(tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("")
    assert run(["tokenizer", str(tmp_path / "empty.txt"), str(tmp_path / "tok")]) == 1
    assert "no text" in capsys.readouterr().err
