"""Importance matrices: both of llama.cpp's forms, read; the newer one, written."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from tests.checkpoints.gguf.convert import to_gguf
from tests.checkpoints.gguf.folders import write_folder
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.gguf.file_write import PendingGGUF, Value, write_gguf
from tfcli.checkpoints.gguf.imatrix import Sums, read_imatrix, write_imatrix
from tfcli.checkpoints.gguf.read import gguf_file, only_file
from tfcli.errors import WorkError

EXPERTS = torch.arange(12.0).view(3, 4)
COUNTS = torch.tensor([2.0, 0.0, 4.0])


def dat(path: Path, entries: list[tuple[str, int, list[float]]], tail: bytes = b"") -> Path:
    """A file of the older form, as `save_imatrix_legacy` of llama.cpp writes it."""
    raw = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        raw += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values))
        raw += struct.pack(f"<{len(values)}f", *values)
    path.write_bytes(raw + tail)
    return path


def test_the_newer_form_has_sums_and_how_many_tokens_they_are_of(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "imatrix.gguf", arch="")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text.txt"])
    writer.add_uint32("imatrix.chunk_count", 3)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, squares, counts in (
        ("blk.0.attn_q.weight", EXPERTS[:1], COUNTS[:1]),
        ("blk.0.ffn_up_exps.weight", EXPERTS, COUNTS),
    ):
        writer.add_tensor(f"{name}.in_sum2", squares.numpy())
        writer.add_tensor(f"{name}.counts", counts[:, None].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_imatrix(tmp_path / "imatrix.gguf")
    assert torch.equal(found["blk.0.attn_q.weight"].means(0, 4), EXPERTS[0] / 2)
    experts = found["blk.0.ffn_up_exps.weight"]
    assert experts.means(1, 4) is None  # which no token went to
    assert torch.equal(experts.means(2, 4), EXPERTS[2] / 4)
    with pytest.raises(ValueError, match="values"):
        experts.means(3, 4)


@pytest.mark.parametrize("tail", [b"", struct.pack("<ii", 3, 4) + b"text"])
def test_the_older_form_has_means_times_calls(tmp_path, tail):
    """The matrices of experts stand in a row; of the file's end older programs write nothing."""
    path = dat(
        tmp_path / "imatrix.dat",
        [("blk.0.attn_q.weight", 5, [5.0, 10.0]), ("e", 2, EXPERTS.flatten().tolist())],
        tail,
    )
    found = read_imatrix(path)
    assert found["blk.0.attn_q.weight"].means(0, 2).tolist() == [1.0, 2.0]
    assert torch.equal(found["e"].means(2, 4), EXPERTS[2] / 2)


def test_what_is_written_is_what_llama_cpp_reads(tmp_path):
    """Its `common_imatrix_load` wants three keys, and sums and counts in F32 for each tensor."""
    path = tmp_path / "imatrix.gguf"
    sums = {"b": Sums(EXPERTS, COUNTS), "a": Sums(EXPERTS[:1], COUNTS[:1])}
    write_imatrix(path, sums, text="text.txt", chunks=2, chunk_size=64)
    file = gguf.GGUFReader(path)
    read = {key: field.contents() for key, field in file.fields.items()}
    assert read["general.type"] == "imatrix" and read["imatrix.datasets"] == ["text.txt"]
    assert (read["imatrix.chunk_count"], read["imatrix.chunk_size"]) == (2, 64)
    tensors = {tensor.name: tensor.data for tensor in file.tensors}
    assert list(tensors) == ["a.in_sum2", "a.counts", "b.in_sum2", "b.counts"]
    assert np.array_equal(tensors["b.in_sum2"], EXPERTS) and tensors["b.counts"].shape == (3, 1)
    assert gguf_file(tmp_path) is None  # it is no model
    back = read_imatrix(path)
    assert torch.equal(back["b"].squares, EXPERTS) and torch.equal(back["b"].counts, COUNTS)


def test_a_model_may_be_named_after_the_matrix_it_was_made_with(tmp_path):
    """What a file is, its header says."""
    write_folder(tmp_path / "hf", "llama")
    to_gguf(tmp_path / "hf", tmp_path / "tiny-imatrix-F16.gguf", "f16")
    sums = {"blk.0.attn_q.weight": Sums(EXPERTS[:1], COUNTS[:1])}
    write_imatrix(tmp_path / "another.gguf", sums, text="text.txt", chunks=1, chunk_size=2)
    assert only_file(tmp_path) == tmp_path / "tiny-imatrix-F16.gguf"
    assert open_checkpoint(tmp_path).container == "gguf"


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (COUNTS[:2], r"sums of 3 matrices \(\[3, 4\]\), and counts of 2"),
        (COUNTS[:1], "and counts of 1"),
        (torch.ones(12), "and counts of 12"),
    ],
)
def test_counts_that_are_not_one_a_matrix_are_refused(tmp_path, counts, why):
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, {"e": Sums(EXPERTS, counts)}, text="t", chunks=1, chunk_size=2)
    with pytest.raises(WorkError, match=why):
        read_imatrix(path)


def test_counts_of_nothing_are_refused(tmp_path):
    tensor = PendingGGUF("e.counts", "F32", (3, 1), lambda: [COUNTS[:, None]])
    write_gguf(tmp_path / "i.gguf", {"general.type": Value("string", "imatrix")}, [tensor])
    with pytest.raises(WorkError, match=r"e\.counts' counts tokens of no sums"):
        read_imatrix(tmp_path / "i.gguf")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "is no importance matrix"),
        (struct.pack("<i", 0), "holds no importance matrix"),
        (struct.pack("<ii", 1, 1 << 30), "ends before"),
        (struct.pack("<ii", 1, -1), "negative length"),
    ],
)
def test_what_is_none_is_refused(tmp_path, raw, why):
    (tmp_path / "imatrix.dat").write_bytes(raw)
    with pytest.raises(WorkError, match=why):
        read_imatrix(tmp_path / "imatrix.dat")
    dat(tmp_path / "imatrix.dat", [("a", 1, [1.0, -1.0])])
    with pytest.raises(WorkError, match="no sums of squares"):
        read_imatrix(tmp_path / "imatrix.dat")
