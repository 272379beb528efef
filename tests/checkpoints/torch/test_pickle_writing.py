"""Writing files that torch.load reads, tensor by tensor."""

from __future__ import annotations

import json
import os
import resource
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.checkpoints.torch.test_pickle_reading import same, sample
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.source import PICKLED, PICKLED_INDEX, open_tensors
from tfcli.checkpoints.io.disk import whole_file
from tfcli.checkpoints.io.dtypes import TORCH_NAMES
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.torch.serialize import (
    Archive,
    pickle_tensors,
    write_torch,
    write_torch_shards,
)
from tfcli.checkpoints.torch.zip_directory import Part, read_directory
from tfcli.errors import WorkError


def pending(**tensors: Tensor) -> list[PendingTensor]:
    return [PendingTensor.of(name, tensor) for name, tensor in tensors.items()]


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("code", TORCH_NAMES)
def test_torch_loads_every_dtype(tmp_path: Path, code: str, mapped: bool) -> None:
    path = tmp_path / "x.bin"
    size = write_torch(path, pending(odd=torch.tensor([True]), w=sample(code)))
    assert size == path.stat().st_size
    found = torch.load(path, weights_only=True, mmap=mapped)
    assert list(found) == ["odd", "w"]
    assert same(found["w"], sample(code))
    assert same(open_tensors(path)["w"], sample(code))


def test_torch_loads_every_shape(tmp_path: Path) -> None:
    tensors = {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "expanded": torch.ones(1, 2).expand(3, 2),
        "long name " + "é" * 300: torch.randn(2, 3, 4),
    }
    write_torch(tmp_path / "x.bin", pending(**tensors))
    found = torch.load(tmp_path / "x.bin", weights_only=True, mmap=True)
    for name, tensor in tensors.items():
        assert same(found[name], tensor)
        assert found[name].is_contiguous()


def test_storages_are_aligned_and_the_archive_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_torch(path, pending(**{f"w{n}": torch.randn(n + 1) for n in range(20)}))
    with OpenedFile(path).reading() as reader:
        entries = read_directory(Part(reader, 0, reader.size), path)
    assert all(entry.start % 64 == 0 for entry in entries.values())
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "archive/data.pkl"
    again = tmp_path / "y.bin"
    write_torch(again, [PendingTensor.of(n, t) for n, t in open_tensors(path).items()])
    assert again.read_bytes() == path.read_bytes()


def test_large_archives_have_64_bit_fields(tmp_path: Path) -> None:
    """As beyond 4 GB, where the limit is a byte: every size and place takes its wide form."""
    path = tmp_path / "x.bin"
    with whole_file(path, 0) as sink:
        archive = Archive(sink, narrow=1)
        archive.add("data.pkl", pickle_tensors(pending(w=sample("F32")), path))
        archive.add("data/0", sample("F32").numpy().data)
        archive.add("version", b"3\n")
        archive.finish()
    with zipfile.ZipFile(path) as found:
        assert found.testzip() is None
        assert len(found.namelist()) == 3
    assert same(torch.load(path, weights_only=True, mmap=True)["w"], sample("F32"))
    assert same(open_tensors(path)["w"], sample("F32"))


def test_values_that_are_not_what_was_declared_and_names_that_stand_twice(tmp_path: Path) -> None:
    bad = PendingTensor("w", "F16", (2,), lambda: torch.ones(2))
    with pytest.raises(WorkError, match="'w' was to be F16"):
        write_torch(tmp_path / "x.bin", [bad])
    with pytest.raises(WorkError, match="'w' is taken"):
        write_torch(tmp_path / "x.bin", pending(w=torch.ones(1)) * 2)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 64 kB, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path, small_files: None) -> None:
    path = tmp_path / "x.bin"
    write_torch(path, pending(w=torch.zeros(4)))
    with pytest.raises(WorkError, match="cannot be written"):
        write_torch(path, pending(w=torch.ones(50_000)))
    assert os.listdir(tmp_path) == ["x.bin"]  # noqa: PTH208 - hidden files too
    assert open_tensors(path)["w"].tolist() == [0] * 4


def test_shards_and_their_index(tmp_path: Path) -> None:
    tensors = pending(a=torch.ones(100), b=torch.zeros(100), c=torch.ones(50))
    files = write_torch_shards(tmp_path, tensors, 600)
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    assert [file.name for file in files] == names
    index = json.loads((tmp_path / PICKLED_INDEX).read_text())
    assert index == {
        "metadata": {"total_size": 1000},
        "weight_map": {"a": names[0], "b": names[1], "c": names[1]},
    }
    source = open_tensors(tmp_path)
    assert {name: t.sum().item() for name, t in source.items()} == {"a": 100, "b": 0, "c": 50}
    assert set(torch.load(files[1], weights_only=True)) == {"b", "c"}


def test_a_single_shard_has_the_usual_name(tmp_path: Path) -> None:
    assert write_torch_shards(tmp_path, pending(a=torch.ones(2))) == [tmp_path / PICKLED]
    assert os.listdir(tmp_path) == [PICKLED]  # noqa: PTH208 - hidden files too
