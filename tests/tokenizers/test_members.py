"""Members of a JSON object are found as a parser finds them, without parsing the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcli.errors import WorkError
from tfcli.tokenizers.members import read_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('a"\\{}[],: é', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab{"), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["normalizer", "model", 'a"b', "x\\", "é"]), VALUES)


@given(OBJECTS, st.sampled_from([None, 1]), st.booleans())
def test_the_same_as_a_parser_finds(content, indent, plain):
    data = json.dumps(content, indent=indent, ensure_ascii=plain).encode()
    assert read_members(data, content, "here") == content
    assert read_members(data, ["model"], "here").keys() == content.keys() & {"model"}


@given(OBJECTS, st.integers(0, 60), st.sampled_from(["", "}", "]", '"', ",", "{}", "x"]))
def test_what_no_parser_takes_is_refused(content, at, more):
    text = json.dumps(content)
    broken = text[:at] + more + text[at + 1 :]
    try:
        taken = isinstance(json.loads(broken), dict)
    except ValueError:
        taken = False
    if taken:
        return
    try:
        read_members(broken.encode(), [], "here")
    except WorkError:
        return
    # What is passed over is left to the library; whatever is found was read by the parser.
    assert "model" in content or any(isinstance(one, (dict, list)) for one in content.values())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a":1,}', b'{"a":1}{', b'{"a" 1}', b"\xff"])
def test_no_object(data):
    with pytest.raises(WorkError) as error:
        read_members(data, [], "here")
    assert error.value.where == "here"


def test_a_key_that_stands_twice_in_any_spelling():
    with pytest.raises(WorkError, match="stands twice"):
        read_members(rb'{"model": 1, "m\u006fdel": 2}', [], "here")
