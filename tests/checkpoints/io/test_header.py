"""Safetensors headers: what is read, and what is refused with the file and the field named."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfcli.checkpoints.hf.safetensors import SafetensorsFile
from tfcli.checkpoints.io.header import MAX_HEADER, read_header
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.errors import WorkError

GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def raw(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """The bytes of a file with this header, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(**changes: Any) -> bytes:
    """A file of one tensor `w` that is right but for the changes."""
    return raw({"w": {**GOOD, **changes}}, bytes(24))


def test_a_header_is_read_without_its_data(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "I64", "shape": [], "data_offsets": [6, 14]},
        "a": {"dtype": "BF16", "shape": [3, 1], "data_offsets": [0, 6]},
        "none": {"dtype": "F32", "shape": [0, 7], "data_offsets": [6, 6]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(raw(text + b"   ", bytes(14)))
    found = read_header(OpenedFile(path))
    assert found.metadata == {"format": "pt"}
    assert list(found.tensors) == ["a", "none", "b"]
    a = found.tensors["a"]
    assert (a.dtype, a.shape, a.nbytes, a.start) == ("BF16", (3, 1), 6, 8 + len(text) + 3)
    assert a.file == path


BAD = {
    "empty file": (b"", "truncated"),
    "half a length": (b"\x02\0\0", "truncated"),
    "header past the end": (raw(b"{}", length=50), "truncated: the header takes 50 bytes"),
    "header too long": (raw(b"{}", length=MAX_HEADER + 1), "header length"),
    "length of all ones": (raw(b"{}", length=2**64 - 1), "header length"),
    "no JSON": (raw(b"hello"), "not valid JSON"),
    "half of JSON": (raw(b'{"w":'), "not valid JSON"),
    "leading space": (raw(b" {}"), "does not begin with {"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not valid JSON"),
    "half a surrogate": (raw(b'{"\\ud800": 1}'), "not valid JSON"),
    "deep nesting": (raw(b'{"w":' + b"[" * 100_000), "nested too deeply"),
    "NaN": (raw(b'{"w": NaN}'), "NaN"),
    "duplicate tensor": (raw(b'{"w": 1, "w": 2}'), "'w' stands twice"),
    "duplicate field": (raw(b'{"w": {"dtype": "F32", "dtype": "F16"}}'), "'dtype' stands twice"),
    "entry is a list": (raw({"w": []}), "'w': expected an object"),
    "no dtype": (raw({"w": {"shape": [], "data_offsets": [0, 0]}}), "dtype of 'w': it is missing"),
    "no shape": (raw({"w": {"dtype": "F32", "data_offsets": [0, 0]}}), "shape of 'w'"),
    "no offsets": (raw({"w": {"dtype": "F32", "shape": []}}), "data_offsets of 'w'"),
    "dtype is a number": (entry(dtype=32), "dtype of 'w'"),
    "unknown dtype": (entry(dtype="F23"), "dtype of 'w': unknown type 'F23'"),
    "negative shape": (entry(shape=[-2, -3]), "shape of 'w'"),
    "fractional shape": (entry(shape=[2.0, 3]), "shape of 'w'"),
    "true as a dimension": (entry(shape=[True, 6]), "shape of 'w'"),
    "shape is a number": (entry(shape=6), "shape of 'w'"),
    "shape overflows": (entry(shape=[2**40, 2**40]), "shape of 'w': the number of elements"),
    "shape overflows beside 0": (
        raw({"w": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}}),
        "shape of 'w': the number of elements",
    ),
    "product overflows beside 0": (
        raw({"w": {"dtype": "F32", "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}}),
        "shape of 'w': the number of elements",
    ),
    "a thousand dimensions": (entry(shape=[1] * 1000), "shape of 'w': 1000 dimensions"),
    "shape too small": (entry(shape=[2, 2]), "shape of 'w': 2x2 of F32 takes 16 bytes, not 24"),
    "dtype too small": (entry(dtype="F16"), "shape of 'w': 2x3 of F16 takes 12 bytes, not 24"),
    "half a byte": (entry(dtype="F6_E2M3", shape=[1]), "do not fill whole bytes"),
    "odd F4": (entry(dtype="F4", shape=[16, 3]), "must be even"),
    "one offset": (entry(data_offsets=[0]), "data_offsets of 'w'"),
    "negative offset": (entry(data_offsets=[-8, 16]), "data_offsets of 'w'"),
    "offsets the wrong way": (entry(data_offsets=[24, 0]), "data_offsets of 'w'"),
    "offset past the end": (entry(data_offsets=[0, 25]), "data_offsets of 'w'"),
    "huge offsets": (entry(data_offsets=[0, 10**4000]), "data_offsets of 'w'"),
    "overlap": (
        raw(
            {
                "v": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "w": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
            },
            bytes(6),
        ),
        "data_offsets of 'w': it overlaps",
    ),
    "hole": (
        raw(
            {
                "v": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
                "w": {"dtype": "U8", "shape": [2], "data_offsets": [4, 6]},
            },
            bytes(6),
        ),
        "data_offsets of 'w': it follows a hole",
    ),
    "bytes left over": (raw({"w": GOOD}, bytes(30)), "data_offsets: the tensors end"),
    "data cut off": (raw({"w": GOOD}, bytes(20)), "data_offsets of 'w'"),
    "metadata of numbers": (raw({"__metadata__": {"a": 1}}), "__metadata__"),
    "metadata is a list": (raw({"__metadata__": []}), "__metadata__"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_broken_file_is_refused(tmp_path: Path, case: str) -> None:
    content, says = BAD[case]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(WorkError) as error:
        read_header(OpenedFile(path))
    assert says in error.value.what
    assert error.value.where == str(path)


def test_control_characters_in_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw({"\x1b[2Jgone": {**GOOD, "dtype": "\x1b[31m"}}, bytes(24)))
    with pytest.raises(WorkError) as error:
        read_header(OpenedFile(path))
    assert "\x1b" not in str(error.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="missing"):
        read_header(OpenedFile(tmp_path / "gone.safetensors"))
    with pytest.raises(WorkError, match="not a file"):
        read_header(OpenedFile(tmp_path))


VALID = raw(
    {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "b": {"dtype": "I64", "shape": [1], "data_offsets": [12, 20]},
        "c": {"dtype": "F8_E4M3", "shape": [2, 0], "data_offsets": [20, 20]},
        "d": {"dtype": "BOOL", "shape": [], "data_offsets": [20, 21]},
    },
    bytes(range(21)),
)
CHANGES = st.lists(
    st.tuples(
        st.integers(0, len(VALID) - 1),
        st.sampled_from(["set", "insert", "delete"]),
        st.one_of(st.integers(0, 255), st.sampled_from(list(b'0123456789[]{}",:-'))),
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES, cut=st.integers(0, len(VALID)))
def test_no_damage_does_more_than_raise_a_work_error(
    tmp_path: Path, changes: list[tuple[int, str, int]], cut: int
) -> None:
    content = bytearray(VALID)
    for place, what, value in changes:
        if what == "insert":
            content.insert(place, value)
        elif place < len(content):
            content[place : place + 1] = b"" if what == "delete" else bytes([value])
    path = tmp_path / "x.safetensors"
    # Half of the examples are cut short as well.
    path.write_bytes(content[:cut] if cut % 2 else content)
    try:
        file = SafetensorsFile(path)
        for name, info in file.tensors.items():
            assert file.read(name).numel() * file.read(name).element_size() == info.nbytes
    except WorkError as error:
        assert str(path) in str(error.where)


def test_the_valid_file_of_the_property_test_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(VALID)
    assert SafetensorsFile(path).read("b").dtype == torch.int64
