"""GGUF files that we write: read by the gguf library, whole or not at all."""

import subprocess
import sys
from array import array

import gguf
import numpy as np
import pytest
import torch

from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import PendingGGUF, Value, write_gguf
from tfcli.errors import WorkError

METADATA = {
    "general.architecture": Value("string", "llama"),
    "a.u8": Value("uint8", 7),
    "a.i16": Value("int16", -7),
    "a.u64": Value("uint64", 2**63),
    "a.f64": Value("float64", 0.1),
    "a.bool": Value("bool", True),
    "a.ints": Value("array[int32]", [1, -2, 3]),
    "a.floats": Value("array[float32]", array("f", [0.5])),
    "a.texts": Value("array[string]", ["x", "", "yé"]),
    "a.none": Value("array[uint32]", []),
}


def pending(name, tensor, dtype="F32"):
    return PendingGGUF(name, dtype, tuple(tensor.shape), lambda: iter([tensor]))


def test_the_gguf_library_reads_what_we_write(tmp_path):
    path = tmp_path / "ours.gguf"
    values = torch.randn(3, 64)
    tensors = [
        pending("one", values),
        pending("two", values[0, :5]),
        pending("three", values, "BF16"),
        pending("four", values, "Q5_1"),
        PendingGGUF("five", "F16", (2, 3, 64), lambda: (values.half() for _ in range(2))),
        pending("scalar", torch.tensor(2.5)),
    ]
    size = write_gguf(path, METADATA, tensors)
    assert size == path.stat().st_size
    reader = gguf.GGUFReader(path)
    for key, value in METADATA.items():
        assert reader.get_field(key).contents() == (
            list(value.value) if "array" in value.kind else value.value
        )
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert [*found] == [tensor.name for tensor in tensors]
    assert np.array_equal(found["one"].data, values.numpy())
    assert np.array_equal(found["two"].data, values[0, :5].numpy())
    assert found["five"].data.shape == (2, 3, 64)
    expected = gguf.quants.quantize(values.numpy(), gguf.GGMLQuantizationType.Q5_1)
    assert np.array_equal(found["four"].data, expected)
    assert all(int(tensor.data_offset) % 32 == 0 for tensor in reader.tensors)


def test_we_read_what_we_write(tmp_path):
    path = tmp_path / "ours.gguf"
    nested = Value("array[array[int16]]", [array("h", [1, -2]), array("h")])
    values = torch.randn(3, 64)
    metadata = {**METADATA, "a.nested": nested}
    write_gguf(path, metadata, [pending("one", values), pending("none", torch.empty(0, 4))])
    file = GGUFFile(path)
    assert {key: file.types[key] for key in metadata} == {k: v.kind for k, v in metadata.items()}
    assert file.metadata["a.nested"] == nested.value
    assert torch.equal(file.read("one"), values)
    assert file.read("none").shape == (0, 4)
    with pytest.raises(WorkError, match="holds no tensor 'two'"):
        file.read("two")


def test_a_file_larger_than_the_limit_on_data_is_read(tmp_path):
    """One tensor at a time is held: 256 MB under a limit of 64 above what was."""
    big = torch.zeros(8 << 20)
    write_gguf(tmp_path / "x.gguf", {}, [pending(f"t{n}", big) for n in range(8)])
    script = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from tfcli.checkpoints.gguf.file import GGUFFile\n"
        "file = GGUFFile(Path(sys.argv[1]))\n"
        "file.read('t0').sum()\n"
        "held = int(open('/proc/self/statm').read().split()[5]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (held + (64 << 20),) * 2)\n"
        "print(sum(float(file.read(name).sum()) for name in file.tensors))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "x.gguf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0.0\n", done.stderr


def test_plain_types_keep_infinity_and_refuse_what_becomes_it(tmp_path):
    values = torch.tensor([[1.0, float("inf"), float("nan")]])
    write_gguf(tmp_path / "x.gguf", {}, [pending("one", values, "F16")])
    found = GGUFFile(tmp_path / "x.gguf").read("one")
    assert torch.equal(found.nan_to_num(nan=7.0), values.half().nan_to_num(nan=7.0))
    with pytest.raises(WorkError, match="'one': 70000 is too large for float16"):
        write_gguf(tmp_path / "y.gguf", {}, [pending("one", values * 70000, "F16")])


def test_a_tensor_outlives_its_file_object(tmp_path):
    write_gguf(tmp_path / "x.gguf", {}, [pending("one", torch.arange(64.0))])
    tensor = GGUFFile(tmp_path / "x.gguf").read("one")
    (tmp_path / "x.gguf").unlink()
    assert torch.equal(tensor, torch.arange(64.0))


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ([pending("x", torch.ones(4))] * 2, "'x' stands twice"),
        ([pending("x" * 64, torch.ones(4))], "has more than 63 bytes"),
        ([PendingGGUF("x", "F32", (8,), lambda: [torch.ones(4)])], "was to have rows of 8"),
        ([PendingGGUF("x", "F32", (2, 8), lambda: [torch.ones(8)])], "was to take 64 bytes"),
        ([pending("x", torch.ones(40), "Q8_0")], "do not fill Q8_0's blocks of 32"),
        ([pending("x", torch.ones(256), "Q4_K")], "Q4_K cannot be written"),
    ],
)
def test_a_failed_write_leaves_nothing_behind(tensors, problem, tmp_path):
    with pytest.raises(WorkError) as caught:
        write_gguf(tmp_path / "x.gguf", {}, tensors)
    assert problem in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_value_beyond_its_type_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"a\.b: 300 is no uint8"):
        write_gguf(tmp_path / "x.gguf", {"a.b": Value("uint8", 300)}, [])
