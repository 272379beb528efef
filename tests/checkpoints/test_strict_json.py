"""JSON of which nobody vouches: what is refused, and what parsing may cost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.strict_json import BUDGET, memory, parse_json, parse_object, read_json
from tfcli.errors import WorkError
from tfcli.models.registry import read_config
from tfcli.tokenizers.load import load_tokenizer


def test_what_is_right_is_read() -> None:
    text = '{"a": [1, 2.5, null, true], "\\ud83d\\ude00": {"b": "\\\\ud800"}, "größe": -1e300}'
    assert parse_object(text.encode(), where="x") == json.loads(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice, with different values"),
        (b'{"x": [{"a": 1, "a": true}]}', "'a' stands twice"),
        (b"[]", "expected a JSON object, found a list"),
        (b'{"a": Infinity}', "Infinity is not a JSON number"),
        (b'{"a": -1e999}', "the number '-1e999' is too large"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "nested too deeply, more than 100 levels"),
        (b'{"a":' + b"9" * 5000 + b"}", "4300 digits"),
        # Found by mutating indexes and headers: half of a pair in a value, not in a key.
        (rb'{"weight_map": {"w": "\ud800"}}', r"'\ud800' has half of a surrogate pair"),
        (rb'{"__metadata__": {"format": "pt\uDFFF"}}', "half of a surrogate pair"),
        (rb'{"a": [["\ude00\ud83d"]]}', "half of a surrogate pair"),
        (rb'{"\ud800": 1}', "half of a surrogate pair"),
    ],
)
def test_what_is_wrong_is_said(text: bytes, says: str) -> None:
    with pytest.raises(WorkError) as error:
        parse_object(text, where="x.json")
    assert says in error.value.what
    assert error.value.where == "x.json"
    assert str(error.value).isprintable()


def test_a_key_may_stand_twice_where_it_says_the_same(tmp_path: Path) -> None:
    assert parse_json(b'[{"a": {"b": [1]}, "a": {"b": [1]}}]', where="x") == [{"a": {"b": [1]}}]
    for first, second in (("1", "1.0"), ("1", "true"), ("null", "false"), ('"1"', "1")):
        with pytest.raises(WorkError, match="'a' stands twice, with different values"):
            parse_json(f'{{"a": {first}, "a": {second}}}'.encode(), where="x")


def test_a_key_that_stands_twice_at_every_depth_takes_no_long_time() -> None:
    inner = '"' + "x" * 1_000_000 + '"'
    text = '{"a":0,"a":0,"b":' * 99 + inner + "}" * 99  # 200 MB if all were compared with all
    assert len(parse_object(text.encode(), where="x")) == 2


@pytest.mark.parametrize("reader", ["tokenizer_config.json", "config.json", "vocab.json"])
def test_one_rule_holds_for_every_file_of_a_checkpoint(reader: str, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("")
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / reader).write_text('{"a": 0, "a": 1}')
    with pytest.raises(WorkError, match="'a' stands twice") as error:
        load_tokenizer(tmp_path)
    assert error.value.where == str(tmp_path / reader)


def test_infinity_is_read_where_python_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "mamba2", "time_step_limit": [0.0, Infinity]}')
    assert read_json(path)["time_step_limit"] == [0.0, math.inf]
    assert read_config(read_object(tmp_path, CONFIG)).time_step_limit == [0.0, math.inf]  # type: ignore[attr-defined]


def test_memory_is_estimated_before_anything_is_parsed() -> None:
    text = b'{"w": [' + b"[]," * 1_000_000 + b"[]]}"
    with pytest.raises(WorkError, match=r"the header of 3,000,011 bytes .* the 10\.0 MB"):
        parse_object(text, where="x", what="the header", budget=10_000_000)
    assert len(parse_object(text, where="x")["w"]) == 1_000_001


def test_large_checkpoints_are_within_the_budget() -> None:
    name = "model.layers.60.mlp.experts.383.down_proj.weight_scale_inv"
    shard = '"model-00061-of-00062.safetensors"'
    index = f'{{"weight_map": {{{",".join([f"{chr(34)}{name}{chr(34)}: {shard}"] * 150_000)}}}}}'
    assert memory(index.encode()) < BUDGET
    entry = (
        f'"{name}":{{"dtype":"F8_E4M3","shape":[7168,2048],"data_offsets":[1234567890,1234567899]}}'
    )
    header = "{" + ",".join([entry] * 60_000) + "}"
    assert memory(header.encode()) < BUDGET
