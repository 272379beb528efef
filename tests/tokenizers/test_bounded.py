"""Vocabulary files that nobody vouches for: bounded memory, and errors that name the place."""

from __future__ import annotations

import json
import os
import tracemalloc

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers

from tests.tokenizers.folders import byte_level, rank_file, wordpieces, write
from tfcli.errors import WorkError
from tfcli.limits import MAX_ENTRIES, MAX_TOKENS
from tfcli.tokenizers.bounded import check_splits, read_bounded, read_lines
from tfcli.tokenizers.load import load_tokenizer

VOCAB, MERGES = byte_level("<|endoftext|>")


def refused(folder, files, what, where=""):
    with pytest.raises(WorkError, match=what) as error:
        load_tokenizer(write(folder, files))
    assert where in error.value.where
    return error.value


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "vocab.txt", "x.tiktoken"])
def test_a_file_of_gigabytes_is_not_read(name, tmp_path):
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    refused(tmp_path, {}, "has 1,099,511,627,776 bytes", name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_a_pipe_and_a_folder_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "vocab.txt")
    refused(tmp_path, {}, "is not a regular file", "vocab.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkError, match="is not a regular file"):
        read_bounded(tmp_path / "folder")
    with pytest.raises(WorkError, match=r"there is no gone\.txt"):
        read_bounded(tmp_path / "gone.txt")


def test_a_hundred_million_lines_are_counted_not_made(tmp_path):
    lines = b"\n" * (MAX_TOKENS + 1)
    for name in ("vocab.txt", "merges.txt"):
        files = {name: lines, "vocab.json": VOCAB} if name == "merges.txt" else {name: lines}
        refused(tmp_path / name[:3], files, "has 4,194,305 lines", name)
    many = b"{" + b'"a":0,' * (MAX_ENTRIES + 1) + b'"b":1}'
    refused(tmp_path, {"vocab.json": many, "merges.txt": ""}, "has more than 2,000,000 entries")


def test_line_ends_of_both_kinds(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("one\r\ntwo\u2028\n\nlast".encode())
    assert read_lines(file) == ["one", "two\u2028", "", "last"]
    file.write_bytes(b"one\n")
    assert read_lines(file) == ["one"]
    file.write_bytes(b"")
    assert read_lines(file) == []


@pytest.mark.parametrize(
    ("vocab", "what", "where"),
    [
        ("[1, 2]", "expected a JSON object", "vocab.json"),
        ("{}", "expected a JSON object", "vocab.json"),
        ("{", "not valid JSON", "vocab.json"),
        (b"\xff\xfe{}", "not valid JSON", "vocab.json"),
        ("[" * 100_000, "not valid JSON", "vocab.json"),
        ({"a": 0, "b": 0}, "has the id 0 of 'a'", "token 'b'"),
        ({"a": -1}, "the id -1 is not in", "token 'a'"),
        ({"a": 1 << 40}, "the id 1099511627776 is not in", "token 'a'"),
        ({"a": 1.5}, "the id 1.5 is not in", "token 'a'"),
        ({"a": True}, "the id True is not in", "token 'a'"),
        ({"a": "0"}, "the id 0 is not in", "token 'a'"),
        ({"a" * 5000: 0}, "longer than 4,096 characters", "token 'aaa"),
    ],
)
def test_a_broken_vocab_json(vocab, what, where, tmp_path):
    text = json.dumps(vocab) if isinstance(vocab, dict) else vocab
    refused(tmp_path, {"vocab.json": text, "merges.txt": ""}, what, where)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("a nowhere", "'nowhere' is no token"),
        ("nowhere a", "'nowhere' is no token"),
        ("q q", "'qq' is no token"),
        ("a", "'a' is not a pair"),
        ("a b c", "'a b c' is not a pair"),
        ("a  b", "'a  b' is not a pair"),
    ],
)
def test_a_merge_that_names_no_token(line, what, tmp_path):
    assert "qq" not in VOCAB
    merges = MERGES + f"\n{line}\n"
    number = MERGES.count("\n") + 2
    error = refused(tmp_path, {"vocab.json": VOCAB, "merges.txt": merges}, what, f"line {number}")
    assert "merges.txt" in error.where


def test_merges_in_other_bytes_than_utf8(tmp_path):
    files = {"vocab.json": VOCAB, "merges.txt": b"#version: 0.2\na b\n\xff\xfe\n"}
    refused(tmp_path, files, "is not UTF-8 text", "merges.txt, line 3")


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("", "there is no token", "vocab.txt"),
        ("\n\n", "there is no token", "vocab.txt"),
        ("[PAD]\nword\n", r"there is no \[UNK\]", "vocab.txt"),
        (b"[UNK]\n\x00\x01\x02\n", "is binary data", "line 2"),
        (b"[UNK]\nword\n\x80\n", "is not UTF-8", "line 3"),
        ("[UNK]\n" + "a" * 5000, "is too long", "line 2"),
        ("[UNK]\nword\n", r"", ""),
    ],
)
def test_a_broken_vocab_txt(text, what, where, tmp_path):
    if what:
        refused(tmp_path, {"vocab.txt": text}, what, where)
        return
    tokenizer = load_tokenizer(write(tmp_path, {"vocab.txt": text}))  # its others are appended
    assert tokenizer.special_ids["sep_token"] == 2
    assert tokenizer.encode("word other") == [4, 1, 0, 2]


def test_of_equal_lines_the_last_counts(tmp_path):
    tokenizer = load_tokenizer(write(tmp_path, {"vocab.txt": wordpieces() + "the\n"}))
    count = wordpieces().count("\n")
    assert tokenizer.encode("the", add_special_tokens=False) == [count]


@pytest.mark.parametrize(
    ("change", "what", "where"),
    [
        (lambda lines: [*lines, "not base64!! 450"], "is not a token in base64", "line 451"),
        (lambda lines: [*lines, "IA=="], "is not a token in base64", "line 451"),
        (lambda lines: [*lines, "YWJjZGVm -1"], "is not a token in base64", "line 451"),
        (lambda lines: [*lines, "YWJjZGVm 4x"], "is not a token in base64", "line 451"),
        (lambda lines: [*lines, " 450"], "is not a token in base64", "line 451"),
        (
            lambda lines: [*lines, "YWJjZGVm 99999999999"],
            "the rank 99999999999 is not in",
            "line 451",
        ),
        (lambda lines: [*lines, "YWJjZGVm 5"], "has the rank of line 6", "line 451"),
        (lambda lines: [*lines, lines[4].split()[0] + " 450"], "for a second time", "line 451"),
        (lambda lines: [*lines, "YWFh" * 2000 + " 450"], "longer than 4,096 bytes", "line 451"),
        (lambda lines: lines[:3] + lines[4:], "has no rank for 1 of the 256 bytes", "t.tiktoken"),
    ],
)
def test_a_broken_rank_file(change, what, where, tmp_path):
    lines = change(rank_file().splitlines())
    refused(tmp_path, {"t.tiktoken": "\n".join(lines) + "\n"}, what, where)


def test_tokens_too_long_to_find_their_merges(tmp_path):
    check_splits([4096] * 100, tmp_path)
    with pytest.raises(WorkError, match="too long to find their merges"):
        check_splits([4096] * 200, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("tokenizer_config.json", "[]", "expected a JSON object"),
        ("tokenizer_config.json", "{", "not valid JSON"),
        ("special_tokens_map.json", "3", "expected a JSON object"),
        ("config.json", "nonsense", "not valid JSON"),
        ("added_tokens.json", {"x": -1}, "the id -1 is not in"),
        ("added_tokens.json", {"x": 450, "y": 450}, "has the id 450 of 'x'"),
        ("tokenizer_config.json", {"eos_token": 5}, "5 is no token"),
        ("tokenizer_config.json", {"eos_token": {"content": 5}}, "is no token"),
        ("tokenizer_config.json", {"eos_token": {"content": "x", "lstrip": 1}}, "is no token"),
        ("tokenizer_config.json", {"eos_token": ""}, "is no token"),
        ("tokenizer_config.json", {"extra_special_tokens": "abc"}, "must be lists of tokens"),
        ("tokenizer_config.json", {"added_tokens_decoder": []}, "must be an object of ids"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": "a"}}, "is no id in"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"-1": "a"}}, "is no id in"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"9" * 30: "a"}}, "is no id in"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"450": 3}}, "3 is no token"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"450": "x", "451": "x"}}, "two ids"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"450": "a"}},
            "declared with the id 450",
        ),
        ("tokenizer_config.json", {"add_prefix_space": "yes"}, "must be true or false, not 'yes'"),
    ],
)
def test_broken_files_beside_the_vocabulary(name, content, what, tmp_path):
    refused(tmp_path, {"vocab.json": VOCAB, "merges.txt": MERGES, name: content}, what)


def test_ids_with_holes_keep_the_declared_ids(tmp_path):
    """The library numbers added tokens one after another, whatever id they are declared with."""
    holes = {token: index + (index > 300) * 50 for token, index in VOCAB.items()}
    config = {"added_tokens_decoder": {"320": "<in>", "510": "<out>", "600": "<far>"}}
    files = {"vocab.json": holes, "merges.txt": MERGES, "tokenizer_config.json": config}
    tokenizer = load_tokenizer(write(tmp_path, files))
    assert tokenizer.encode("<in><out><far>") == [320, 510, 600]
    assert tokenizer.decode([320, 510, 600], skip_special_tokens=False) == "<in><out><far>"
    assert tokenizer.vocab_size == 601
    plain = "the cat sat"
    assert tokenizer.decode(tokenizer.encode(plain)) == plain


def test_a_special_token_that_would_take_the_id_of_another(tmp_path):
    holes = {token: index + (index > 300) for token, index in VOCAB.items()}
    files = {"vocab.json": holes, "merges.txt": MERGES}
    config = {"pad_token": "<pad>"}  # would get the id 450, which the last token has
    what = "'<pad>' would get the id 450 of"
    error = refused(tmp_path, {**files, "tokenizer_config.json": config}, what)
    assert "added_tokens_decoder" in error.fix
    config["added_tokens_decoder"] = {"301": "<pad>"}
    assert load_tokenizer(write(tmp_path, {"tokenizer_config.json": config})).pad_id == 301


def test_a_tokenizer_json_whose_tokens_share_an_id(tmp_path):
    shared = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}}
    refused(tmp_path, {"tokenizer.json": shared}, "have the same id, 0", "tokenizer.json")


def test_a_panic_of_the_library_is_an_error(tmp_path):
    """A panic is no Exception: it would end the command with a traceback."""
    backend = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    tokenizer.backend.normalizer = normalizers.Replace(Regex("(a+)+$"), "")  # a file may not say it
    for work in (
        lambda: tokenizer.encode("a" * 100 + "b"),
        lambda: tokenizer.encode_batch(["a" * 100 + "b"]),
        lambda: tokenizer.batch(["a" * 100 + "b"]),
    ):
        with pytest.raises(WorkError, match="cannot encode the text") as error:
            work()
        assert error.value.where == str(tmp_path)
    with pytest.raises(WorkError, match="cannot decode the ids") as error:
        tokenizer.decode([-1])
    assert error.value.where == str(tmp_path)
