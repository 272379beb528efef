"""Damaged files of torch.save, and arbitrary pickles: an error of ours, or tensors to read."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkpoints.torch.hostile_pickles import (
    PROTO,
    number,
    several,
    storage,
    tensor,
    text,
    zipped,
)
from tfcli.checkpoints.hf.source import open_file
from tfcli.errors import WorkError

SHORT = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OPCODES = b"()]}.0NRQbaestu\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94"


def whole(zipped: bool, protocol: int) -> bytes:
    weight = torch.arange(12.0).reshape(3, 4)
    content = {
        "model": {"w": weight, "t": weight.t(), "half": torch.ones(3).half()},
        "args": argparse.Namespace(size=1, names=["a"], rate=0.5),
        "optimizer": [{1: weight[0]}],
    }
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return out.getvalue()


WHOLE = [whole(zipped, protocol) for zipped in (True, False) for protocol in (2, 4)]
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 4000),
        st.sampled_from(["set", "insert", "delete", "copy"]),
        st.one_of(
            st.binary(min_size=1, max_size=4),
            st.sampled_from([bytes([code]) for code in OPCODES]),
            st.integers(1, 8).map(lambda count: b"\xff" * count),
        ),
    ),
    min_size=1,
    max_size=6,
)


def open_and_read(path: Path) -> None:
    try:
        file = open_file(path)
    except WorkError as error:
        assert str(path) in str(error.where)
        return
    for name, info in file.tensors.items():
        found = file.read(name)
        assert found.numel() * found.element_size() == info.nbytes
        if found.numel() < 10_000:
            found.clone()


@SHORT
@given(which=st.integers(0, len(WHOLE) - 1), changes=CHANGES, cut=st.integers(0, 8000))
def test_damage_is_an_error_of_ours(
    tmp_path: Path, which: int, changes: list[tuple[int, str, bytes]], cut: int
) -> None:
    content = bytearray(WHOLE[which])
    for place, what, value in changes:
        place %= len(content) + 1
        if what == "insert":
            content[place:place] = value
        elif what == "copy":
            content[place:place] = content[place // 2 : place // 2 + 8 * len(value)]
        else:
            content[place : place + len(value)] = b"" if what == "delete" else value
    path = tmp_path / "x.bin"
    path.write_bytes(content[:cut])
    open_and_read(path)


NAMES = [
    "_codecs encode",
    "argparse Namespace",
    "builtins set",
    "collections Counter",
    "collections OrderedDict",
    "collections defaultdict",
    "numpy dtype",
    "numpy._core.multiarray scalar",
    "torch FloatStorage",
    "torch Size",
    "torch Tensor",
    "torch float32",
    "torch._tensor _rebuild_from_type_v2",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch.storage UntypedStorage",
]
GLOBALS = st.sampled_from([f"c{name}\n".replace(" ", "\n").encode() for name in NAMES])
COUNTS = st.sampled_from([-1, 0, 1, 2, 3, 4, 2**33, 2**62])
ATOMS = st.one_of(
    st.sampled_from([b"N", b"\x88", b")", b"]", b"}", b"h\x00", b"C\x01a", storage()]),
    st.sampled_from(["", "w", "model", "a.b", "storage", "latin1", "f4"]).map(text),
    COUNTS.map(number),
    GLOBALS,
    st.lists(COUNTS, max_size=3).map(lambda found: several(*found)),
)


def containers(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    several = st.lists(inner, max_size=4).map(b"".join)
    return st.one_of(
        several.map(lambda items: b"(" + items + b"t"),
        several.map(lambda items: b"](" + items + b"e"),
        several.map(lambda items: b"}(" + items + b"u"),
        st.tuples(GLOBALS, several).map(lambda call: call[0] + b"(" + call[1] + b"tR"),
        st.tuples(inner, inner).map(
            lambda pair: b"}" + text("w") + pair[0] + b"s" + pair[1] + b"b"
        ),
        st.tuples(inner, inner, inner).map(lambda view: tensor(*view)),
        inner.map(lambda value: value + b"q\x00"),
    )


@SHORT
@given(value=st.recursive(ATOMS, containers, max_leaves=20))
def test_any_pickle_is_read_or_refused(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(zipped(PROTO + b"}" + text("x") + value + b"s."))
    open_and_read(path)


@pytest.mark.parametrize("content", WHOLE)
def test_the_files_that_are_damaged_above_are_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    assert set(open_file(tmp_path / "x.bin").tensors) == {"w", "t", "half"}
