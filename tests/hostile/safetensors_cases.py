"""Safetensors: headers that lie, files that are cut off, shards and links that lead elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.checkpoints.io.test_header import BAD, raw
from tests.hostile.case import Corpus, put, sparse
from tfcli.checkpoints.strict_json import BUDGET, memory

FILE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
OTHER = {CONFIG: b'{"model_type": "other"}'}
# Those of the unit tests that stand for a kind each; the others are not repeated here.
CHOSEN = (
    "header past the end",
    "header too long",
    "deep nesting",
    "duplicate tensor",
    "negative shape",
    "shape overflows",
    "shape overflows beside 0",
    "offset past the end",
    "huge offsets",
    "overlap",
    "hole",
    "bytes left over",
    "metadata of numbers",
)


def one(name: str = "w") -> bytes:
    """A right file of one tensor."""
    return raw({name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}, bytes(24))


def index(**homes: Any) -> bytes:
    """An index file."""
    return json.dumps({"metadata": {}, "weight_map": homes}).encode()


def make(corpus: Corpus) -> None:
    """Add the cases."""
    whole = {**OTHER, FILE: one()}
    corpus.keep("safetensors", whole)
    corpus.keep("shards", {**OTHER, "a": one("a"), "b": one("b"), INDEX: index(a="a", b="b")})
    for name in CHOSEN:
        content, says = BAD[name]
        corpus.add(f"header {name}", FILE, says, {**OTHER, FILE: content})
    for at in (0, 7, 40, len(one()) - 24, len(one()) - 1):
        says = "truncated" if at < len(one()) - 24 else "data_offsets"
        corpus.add(f"cut at {at}", FILE, says, {**OTHER, FILE: one()[:at]})
    _large(corpus)
    _shards(corpus)
    _links(corpus)


def _large(corpus: Corpus) -> None:
    """Headers of 100 MB, and the longest that are parsed, of what takes most memory."""
    size = 99_000_000
    entry = b'"%08d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
    texts = {
        "spaces": b"{}".ljust(size),
        "lists": b'{"w":[' + b"[]," * (size // 3) + b"[]]}",
    }
    for name, text in texts.items():
        corpus.add(f"100 MB of {name}", FILE, "the header of", {**OTHER, FILE: raw(text)})
    zeros = corpus.add("100 MB of zeros", FILE, "does not begin with {", OTHER)
    sparse(zeros / FILE, 8 + size, size.to_bytes(8, "little"))
    big = b'{"weight_map":{' + b'"":"",' * (size // 6) + b'"":""}}'
    corpus.add("100 MB of index", INDEX, "of memory", {**OTHER, INDEX: big})
    # How the text begins, what is repeated as often as the reader's budget allows, and its end.
    longest = {
        "lists": (b'{"w":[', b"[],", b"1]}"),
        "numbers": (b'{"w":{"shape":[', b"999,", b"1]}}"),
        "names": (b'{"w":[', b'"nn",', b"1]}"),
        "letters": ('{"\U0001f600'.encode(), b"n", b'":1}'),
        "escapes": (b'{"', rb"\ud83d\ude00", b'":1}'),
        "digits": (b'{"w":', b"9", b"}"),
        "deep lists": (b'{"w":', b"[" * 500, b""),
    }
    for name, (start, repeated, end) in longest.items():
        count = BUDGET * 1000 // memory(start + repeated * 1000 + end) - 100
        text = start + repeated * count + end
        says = {"digits": "4300 digits", "deep lists": "nested too deeply"}.get(name, ": ")
        corpus.add(f"the most {name}", FILE, says, {**OTHER, FILE: raw(text)})
    count = BUDGET * 1000 // memory(entry % 0 * 1000) - 100
    text = b"{" + b"".join(entry % number for number in range(count)) + b'"w":{}}'
    corpus.add("the most tensors", FILE, "dtype of 'w'", {**OTHER, FILE: raw(text)})


def _shards(corpus: Corpus) -> None:
    both = {**OTHER, "a": one("a"), "b": one("b")}
    corpus_dir = corpus.folder
    put(corpus_dir, {"outside.safetensors": one("b")})
    for name, shard in {
        "traversal": "../outside.safetensors",
        "absolute": str(corpus_dir / "outside.safetensors"),
        "backslash": "..\\outside.safetensors",
        "empty": "",
        "passwd": "/etc/passwd",
    }.items():
        where = f"shard name {name}"
        corpus.add(
            where, where.replace(" ", "-"), "leads outside", {**both, INDEX: index(a="a", b=shard)}
        )
    corpus.add(
        "shard name long",
        "shard-name-long",
        "the file name 'bbb",
        {**both, INDEX: index(a="a", b="b" * 5000)},
    )
    corpus.add("shard name escapes", INDEX, r"\x1b", {**both, INDEX: index(a="a", b="\x1b[2J")})
    corpus.add("shard missing", INDEX, "weight_map", {**both, INDEX: index(a="a", b="c")})
    corpus.add("shard folder", INDEX, "weight_map", {**both, INDEX: index(a="a", b=".")})
    corpus.add("shard swapped", INDEX, "weight_map: 'a'", {**both, INDEX: index(a="b", b="a")})
    corpus.add(
        "shard repeated", "b", "stands in", {**both, "b": one("a"), INDEX: index(a="a", c="b")}
    )
    corpus.add("shard is its index", INDEX, "header length", {**both, INDEX: index(a="a", b=INDEX)})
    twice = b'{"weight_map": {"a": "a", "a": "b"}}'
    corpus.add("index duplicate key", INDEX, "'a' stands twice", {**both, INDEX: twice})
    twice = b'{"weight_map": {"a": "a"}, "weight_map": {"b": "b"}}'
    corpus.add("index duplicate map", INDEX, "'weight_map' stands twice", {**both, INDEX: twice})
    for name, value in {"list": ["a"], "numbers": {"a": 1}}.items():
        text = json.dumps({"weight_map": value}).encode()
        corpus.add(f"index map {name}", INDEX, "weight_map", {**both, INDEX: text})
    whole = both | {INDEX: index(a="a", b="b")}
    for at in (0, 20, len(whole[INDEX]) - 1):
        cut = {**whole, INDEX: whole[INDEX][:at]}
        corpus.add(f"index cut at {at}", INDEX, "not valid JSON", cut)


def _links(corpus: Corpus) -> None:
    outside = corpus.folder / "outside.safetensors"
    both = {**OTHER, "a": one("a"), INDEX: index(a="a", b="b")}
    (corpus.add("shard link", "shard-link", "'b' is a link", both) / "b").symlink_to(outside)
    (corpus.add("file link", "file-link", FILE, OTHER) / FILE).symlink_to(outside)
    (corpus.add("index link", "index-link", INDEX, OTHER) / INDEX).symlink_to(outside)
    (corpus.add("file link to a device", "file-link", FILE, OTHER) / FILE).symlink_to("/dev/zero")
    (corpus.add("file link to itself", "file-link", FILE, OTHER) / FILE).symlink_to(FILE)
    (corpus.add("file link to nothing", "file-link", FILE, OTHER) / FILE).symlink_to("nothing")
    (corpus.add("file is a folder", FILE, "not a file", OTHER) / FILE).mkdir()
    os.mkfifo(corpus.add("file is a pipe", FILE, "not a file", OTHER) / FILE)
    os.mkfifo(corpus.add("config is a pipe", CONFIG, "file", {FILE: one()}) / CONFIG)
    inner = corpus.add(
        "folder link", "folder-link", "'in/b' is a link", both | {INDEX: index(a="a", b="in/b")}
    )
    (inner / "in").symlink_to(Path(os.devnull).parent)
