"""JSON of which nobody vouches: what is refused, and what parsing may cost."""

from __future__ import annotations

import json

import pytest

from tfcli.checkpoints.strict_json import BUDGET, memory, parse_object
from tfcli.errors import WorkError


def test_what_is_right_is_read() -> None:
    text = '{"a": [1, 2.5, null, true], "\\ud83d\\ude00": {"b": "\\\\ud800"}, "größe": -1e300}'
    assert parse_object(text.encode(), where="x") == json.loads(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"a": 1, "a": 1}', "'a' stands twice"),
        (b'{"x": [{"a": 1, "a": 1}]}', "'a' stands twice"),
        (b"[]", "expected a JSON object, found a list"),
        (b'{"a": Infinity}', "Infinity is not a JSON number"),
        (b'{"a": -1e999}', "the number '-1e999' is too large"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
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
