"""Headers of GGUF files: valid ones are read, broken and hostile ones refused by name, cheaply."""

import resource
import struct
import subprocess
import sys
from array import array

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints.gguf.files import good, header, key, tensor, text
from tfcli.checkpoints.gguf import types
from tfcli.checkpoints.gguf.header import read_header
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.errors import WorkError

ARRAY, STRING, U8, U32, BOOL = 9, 8, 0, 4, 7
HUGE = 2**62


def parse(data, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return read_header(OpenedFile(path))


def test_reads_every_kind_of_value(tmp_path):
    found = parse(good(), tmp_path)
    assert found.metadata == {
        "general.architecture": "llama",
        "a.u8": 7,
        "a.bool": True,
        "a.f32": 1.5,
        "a.i64": -9,
        "a.ints": array("i", [1, -2, 3]),
        "a.texts": ["x", "yé"],
        "a.nested": [array("B", [4, 5])],
    }
    assert found.types["a.ints"] == "array[int32]" and found.types["a.bool"] == "bool"
    one, two = found.tensors.values()
    assert (one.name, one.dtype, one.shape, one.nbytes) == ("one", "F32", (2, 4), 32)
    assert (two.name, two.dtype, two.shape, two.nbytes) == ("two", "Q8_0", (32,), 34)
    assert two.start == one.start + 32 and one.start % 32 == 0


def test_types_are_those_of_the_gguf_library():
    theirs = {
        kind.name: (kind.value, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGML_QUANT_SIZES
    }
    assert {t.name: (t.number, t.block, t.size) for t in types.BY_NUMBER.values()} == theirs
    assert {
        **{name: gguf.LlamaFileType[f"MOSTLY_{name}"] for name in types.WRITABLE[1:]},
        "F32": gguf.LlamaFileType.ALL_F32,
    } == types.FILE_TYPES


def test_reads_a_file_of_the_gguf_library(tmp_path):
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(77)
    writer.add_array("some.floats", [0.5, 1.5])
    writer.add_token_list(["a", "ß"])
    writer.add_custom_alignment(64)
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    writer.add_tensor("x", values)
    writer.add_tensor("y", values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_header(OpenedFile(path))
    assert found.metadata["llama.context_length"] == 77
    assert found.metadata["some.floats"] == array("f", [0.5, 1.5])
    assert found.metadata["tokenizer.ggml.tokens"] == ["a", "ß"]
    assert found.alignment == 64
    assert [(t.name, t.dtype, t.shape) for t in found.tensors.values()] == [
        ("x", "F32", (3, 4)),
        ("y", "F16", (3, 4)),
    ]


def one_tensor(entry, **changes):
    return header(entry, tensors=1, **{"data": 64, **changes})


BROKEN = {
    "empty": (b"", "truncated"),
    "short": (b"GGUF\x03\0\0\0", "truncated"),
    "magic": (header(magic=b"GGML"), "does not begin with GGUF"),
    "version 1": (header(version=1), "the version: it is 1"),
    "version 9": (header(version=9), "the version: it is 9"),
    "big-endian": (header(version=3 << 24), "big-endian"),
    "tensor count": (header(tensors=HUGE), "the tensor count: 4611686018427387904"),
    "tensor count within size": (header(tensors=3, data=64), "the tensor count: 3"),
    "absurd tensors": (header(tensors=1 << 18, data=40 << 18), "at most 131072 are read"),
    "key count": (header(keys=HUGE), "the metadata count"),
    "absurd keys": (header(keys=1 << 17, data=20 << 17), "at most 65536 are read"),
    "key length": (header(struct.pack("<Q", HUGE), keys=1, data=64), "metadata key 0, the length"),
    "key past the end": (
        header(struct.pack("<Q", 999), keys=1, data=64),
        "metadata key 0: truncated",
    ),
    "empty key": (header(key("", U8, b"\1"), keys=1, data=64), "metadata key 0: it is empty"),
    "key not UTF-8": (header(key(b"\xff", U8, b"\1"), keys=1), "metadata key 0: it is not UTF-8"),
    "key twice": (
        header(key("a", U8, b"\1"), key("a", U8, b"\1"), keys=2),
        "metadata key 'a': it stands twice",
    ),
    "value type": (header(key("a", 13, b"\1"), keys=1), "metadata 'a', the type: 13"),
    "bool": (header(key("a", BOOL, b"\2"), keys=1), "metadata 'a': 2 is neither"),
    "bools": (
        header(key("a", ARRAY, struct.pack("<IQ2B", BOOL, 2, 1, 7)), keys=1),
        "neither true nor false",
    ),
    "text length": (
        header(key("a", STRING, struct.pack("<Q", HUGE)), keys=1),
        "metadata 'a', the length: 4611686018427387904",
    ),
    "text past the end": (
        header(key("a", STRING, struct.pack("<Q", 1000)), keys=1),
        "metadata 'a': truncated",
    ),
    "array count": (
        header(key("a", ARRAY, struct.pack("<IQ", U32, HUGE)), keys=1),
        "metadata 'a', the count",
    ),
    "array count overflows": (
        header(key("a", ARRAY, struct.pack("<IQ", 10, 2**61 + 1)), keys=1),
        "metadata 'a', the count",
    ),
    "array type": (
        header(key("a", ARRAY, struct.pack("<IQ", 99, 1)), keys=1, data=64),
        "metadata 'a', its elements, the type: 99",
    ),
    "texts count": (
        header(key("a", ARRAY, struct.pack("<IQ", STRING, HUGE)), keys=1),
        "metadata 'a', the count",
    ),
    "texts past the end": (
        header(key("a", ARRAY, struct.pack("<IQ2Q", STRING, 2, 0, 10**6)), keys=1),
        r"metadata 'a'[1], the length",
    ),
    "deep arrays": (
        header(key("a", ARRAY, struct.pack("<IQ", ARRAY, 1) * 2000), keys=1),
        "arrays in arrays",
    ),
    "wide arrays": (
        header(key("a", ARRAY, struct.pack("<IQ", ARRAY, HUGE)), keys=1, data=64),
        "metadata 'a', the count",
    ),
    "alignment 0": (
        header(key("general.alignment", U32, struct.pack("<I", 0)), keys=1),
        "general.alignment: it is 0",
    ),
    "alignment 48": (
        header(key("general.alignment", U32, struct.pack("<I", 48)), keys=1),
        "general.alignment: it is 48",
    ),
    "alignment huge": (
        header(key("general.alignment", U32, struct.pack("<I", 2**31)), keys=1),
        "general.alignment: it is 2147483648",
    ),
    "alignment text": (
        header(key("general.alignment", STRING, text("32")), keys=1),
        "general.alignment: it must be a uint32",
    ),
    "tensor name empty": (one_tensor(tensor("", [4])), "the name of tensor 0: it is empty"),
    "tensor name long": (one_tensor(tensor("x" * 300, [4])), "the name of tensor 0, the length"),
    "tensor name not UTF-8": (one_tensor(tensor(b"\xff", [4])), "the name of tensor 0"),
    "tensor twice": (
        header(tensor("x", [4]), tensor("x", [4], offset=32), tensors=2, data=64),
        "tensor 'x': its name stands twice",
    ),
    "dimensions": (one_tensor(tensor("x", [1] * 5)), "tensor 'x': 5 dimensions"),
    "dimension count": (
        one_tensor(text("x") + struct.pack("<I", 2**32 - 1)),
        "tensor 'x': 4294967295 dimensions",
    ),
    "negative dimension": (one_tensor(tensor("x", [2**64 - 1])), "overflows 64 bits"),
    "dimensions overflow": (one_tensor(tensor("x", [2**32, 2**32])), "overflows 64 bits"),
    "bytes overflow": (one_tensor(tensor("x", [2**62])), "overflows 64 bits"),
    "tensor type": (one_tensor(tensor("x", [4], kind=4)), "tensor 'x', the type: 4"),
    "blocks": (one_tensor(tensor("x", [33], kind=8)), "do not fill Q8_0's blocks of 32"),
    "scalar in blocks": (one_tensor(tensor("x", [], kind=8)), "do not fill Q8_0's blocks"),
    "offset alignment": (one_tensor(tensor("x", [4], offset=4)), "offset: 4 is no multiple"),
    "offset past the end": (one_tensor(tensor("x", [4], offset=96)), "outside the 64 bytes held"),
    "offset huge": (one_tensor(tensor("x", [4], offset=2**63)), "outside the 64 bytes held"),
    "size past the end": (one_tensor(tensor("x", [17])), "bytes 0 to 68 are outside"),
    "hole": (one_tensor(tensor("x", [4], offset=32)), "a hole is before it"),
    "trailing bytes": (one_tensor(tensor("x", [4])), "the file at"),
    "overlap": (
        header(tensor("x", [16]), tensor("y", [8], offset=32), tensors=2, data=64),
        "tensor 'y', the offset: it overlaps",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_headers_are_refused_by_field(name, tmp_path):
    data, field = BROKEN[name]
    with pytest.raises(WorkError) as caught:
        parse(data, tmp_path)
    assert field in str(caught.value) and "model.gguf" in str(caught.value)


def test_truncation_at_every_byte_is_an_error_of_ours(tmp_path):
    data = good()
    end = len(data) - 30  # the last tensor's padding may be missing
    for size in range(end):
        with pytest.raises(WorkError):
            parse(data[:size], tmp_path)
    assert len(parse(data[:end], tmp_path).tensors) == 2


def test_the_last_padding_may_be_missing(tmp_path):
    assert parse(one_tensor(tensor("x", [4]), data=16), tmp_path).tensors["x"].nbytes == 16


LARGE = {
    "texts": lambda: header(
        key("a", ARRAY, struct.pack("<IQ", STRING, 3 << 19) + bytes(8 * (3 << 19))),
        key("b", ARRAY, struct.pack("<IQ", STRING, 1) + bytes(8)),
        keys=2,
    ),
    "numbers": lambda: large(key("a", ARRAY, struct.pack("<IQ", U8, 100 << 20)), 100 << 20),
    "text": lambda: large(key("a", STRING, struct.pack("<Q", 100 << 20)), 100 << 20),
    "several": lambda: header(
        *[key(f"{n}", STRING, struct.pack("<Q", 9 << 20) + bytes(9 << 20)) for n in range(9)],
        keys=9,
    ),
    "invalid text": lambda: header(
        key("a", STRING, struct.pack("<Q", 65 << 20) + b"\xff" * (65 << 20)), keys=1
    ),
    "tensors": lambda: header(*[tensor(f"{n:06d}", [0]) for n in range(140_000)], tensors=140_000),
}


def large(begin, size):
    return header(begin, bytes(size), keys=1)


@pytest.mark.parametrize("name", LARGE)
def test_large_headers_are_refused_within_200_mb(name, tmp_path):
    """The limit is the process's own: address space above what the imports took."""
    path = tmp_path / "large.gguf"
    path.write_bytes(LARGE[name]())
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tfcli.checkpoints.gguf.header import read_header\n"
        "from tfcli.checkpoints.io.opened import OpenedFile\n"
        "from tfcli.errors import WorkError\n"
        "held = int(open('/proc/self/statm').read().split()[5]) * resource.getpagesize()\n"
        "limit = held + (200 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))\n"
        "try:\n"
        "    read_header(OpenedFile(Path(sys.argv[1])))\n"
        "except WorkError as error:\n"
        "    print('refused', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("refused"), done.stdout + done.stderr
    assert "large.gguf" in done.stdout


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_but_never_worse(data, tmp_path_factory):
    content = bytearray(good())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = parse(content, tmp_path_factory.getbasetemp())
    except WorkError as error:
        assert "model.gguf" in str(error)
    else:
        assert all(t.start + t.nbytes <= len(content) for t in found.tensors.values())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
