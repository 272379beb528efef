"""Reading and streaming writes, against the safetensors library."""

from __future__ import annotations

import gc
import resource
import signal
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.checkpoints.io.dtypes import TORCH_NAMES, torch_dtype
from tfcli.errors import WorkError

BY_LIBRARY = [code for code in TORCH_NAMES if code not in ("F4", "F8_E8M0")]  # it cannot read these


def sample(code: str) -> Tensor:
    """Some bytes as [2, 4] of a dtype; F4 as [2, 8] values in pairs."""
    dtype = torch_dtype(code)
    if code == "BOOL":
        return torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]], dtype=torch.bool)
    raw = torch.arange(8 * dtype.itemsize, dtype=torch.uint8) % 100
    return raw.view(dtype).reshape(2, 4)


def same(one: Tensor, other: Tensor) -> bool:
    bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*bits)


def write(path: Path, **tensors: Tensor) -> int:
    return write_safetensors(path, [PendingTensor.of(name, t) for name, t in tensors.items()])


@pytest.mark.parametrize("code", TORCH_NAMES)
def test_every_dtype_comes_back(tmp_path: Path, code: str) -> None:
    path = tmp_path / "x.safetensors"
    write(path, w=sample(code))
    file = SafetensorsFile(path)
    assert file.tensors["w"].dtype == code
    assert file.tensors["w"].shape == ((2, 8) if code == "F4" else (2, 4))
    assert same(file.read("w"), sample(code))


@pytest.mark.interop
@pytest.mark.parametrize("code", BY_LIBRARY)
def test_the_library_reads_what_we_write(tmp_path: Path, code: str) -> None:
    write(tmp_path / "x.safetensors", w=sample(code))
    assert same(safetensors.torch.load_file(tmp_path / "x.safetensors")["w"], sample(code))


@pytest.mark.interop
@pytest.mark.parametrize("code", TORCH_NAMES)
def test_we_read_what_the_library_writes(tmp_path: Path, code: str) -> None:
    odd = torch.tensor([True])  # so that the header's length varies
    safetensors.torch.save_file({"w": sample(code), "odd": odd}, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert same(file.read("w"), sample(code))
    assert same(file.read("odd"), odd)


@pytest.mark.interop
def test_the_library_accepts_header_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    size = write(path, empty=torch.empty(0, 3), scalar=torch.tensor(2.5), flag=torch.tensor([True]))
    assert size == path.stat().st_size
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("scalar").item() == 2.5
        assert file.get_tensor("empty").shape == (0, 3)


def test_a_tensor_is_memory_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write(path, w=torch.zeros(4), large=torch.zeros(2_000_000))
    file = SafetensorsFile(path)
    for name in ("w", "large"):
        tensor = file.read(name)
        assert tensor.data_ptr() % 64 == 0
        tensor.fill_(7)
        assert file.read(name)[:4].tolist() == [0] * 4


def test_a_tensor_outlives_its_file_object_and_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write(path, w=torch.arange(5000.0))
    file = SafetensorsFile(path)
    tensor = file.read("w")
    del file
    gc.collect()
    path.unlink()
    assert torch.equal(tensor, torch.arange(5000.0))


def test_data_at_an_odd_place_is_read_right(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    values = torch.randn(7, generator=torch.Generator().manual_seed(0))
    header = b'{"w":{"dtype":"F32","shape":[7],"data_offsets":[0,28]}}'
    header += b" " * (-len(header) % 8 + 1)
    path.write_bytes(len(header).to_bytes(8, "little") + header + values.numpy().tobytes())
    tensor = SafetensorsFile(path).read("w")
    assert torch.equal(tensor, values)
    assert tensor.data_ptr() % 4 == 0


def test_our_files_start_their_data_on_a_cache_line_and_align_every_tensor(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write(
        path,
        flag=torch.tensor([True]),
        wide=torch.ones(3, dtype=torch.float64),
        half=torch.ones(3, dtype=torch.float16),
        single=torch.ones(3),
    )
    infos = SafetensorsFile(path).tensors
    assert list(infos) == ["wide", "single", "half", "flag"]
    assert infos["wide"].start % 64 == 0
    assert all(infos[name].start % size == 0 for name, size in [("single", 4), ("half", 2)])


def test_tensors_are_asked_for_one_at_a_time(tmp_path: Path) -> None:
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def read(number: int) -> Tensor:
        # What came before is on the disk, but for the one that is on its way to it.
        alive.append(sum(tensor() is not None for tensor in made))
        tensor = torch.full((1 << 22,), float(number))
        made.append(weakref.ref(tensor.untyped_storage()))
        return tensor

    items = [PendingTensor(f"t{n}", "F32", (1 << 22,), partial(read, n)) for n in range(5)]
    write_safetensors(tmp_path / "x.safetensors", items)
    assert len(alive) == 5 and max(alive) <= 1
    assert SafetensorsFile(tmp_path / "x.safetensors").read("t4")[0] == 4


def test_transposed_and_expanded_tensors_are_written_as_they_look(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    base = torch.arange(6.0).reshape(2, 3)
    write(path, t=base.t(), e=torch.ones(1, 2).expand(3, 2), o=base[0, ::2][:1])
    file = SafetensorsFile(path)
    assert torch.equal(file.read("t"), base.t())
    assert torch.equal(file.read("e"), torch.ones(3, 2))
    assert file.read("o").tolist() == [0.0]


def test_values_that_are_not_what_was_declared(tmp_path: Path) -> None:
    bad = PendingTensor("w", "F16", (2,), lambda: torch.ones(2))
    with pytest.raises(WorkError, match=r"'w' was to be F16 \[2\], its values are F32 \[2\]"):
        write_safetensors(tmp_path / "x.safetensors", [bad])
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_stands_twice(tmp_path: Path) -> None:
    twice = [PendingTensor.of("w", torch.ones(1))] * 2
    with pytest.raises(WorkError, match="'w' is taken"):
        write_safetensors(tmp_path / "x.safetensors", twice)


@pytest.mark.parametrize("code", ["F6_E2M3", "F6_E3M2"])
def test_types_that_torch_lacks_are_refused_by_name(tmp_path: Path, code: str) -> None:
    path = tmp_path / "x.safetensors"
    header = f'{{"w":{{"dtype":"{code}","shape":[4],"data_offsets":[0,3]}}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"abc")
    file = SafetensorsFile(path)
    assert file.tensors["w"].elements == 4
    with pytest.raises(WorkError, match=f"no type for {code}"):
        file.read("w")


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
    path = tmp_path / "x.safetensors"
    write(path, w=torch.zeros(4))
    with pytest.raises(WorkError, match="cannot be written") as error:
        write(path, w=torch.ones(50_000))
    assert error.value.where == str(path)
    assert "make room" in str(error.value.fix)
    assert [item.name for item in tmp_path.iterdir()] == ["x.safetensors"]
    assert SafetensorsFile(path).read("w").tolist() == [0] * 4


def test_no_room_is_found_before_anything_is_written(tmp_path: Path) -> None:
    huge = PendingTensor("w", "F32", (2**50,), lambda: pytest.fail("was read"))
    with pytest.raises(WorkError, match="the disk has room for"):
        write_safetensors(tmp_path / "x.safetensors", [huge])
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_be_replaced_by_what_was_read_from_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write(path, w=torch.arange(4096.0))
    old = SafetensorsFile(path).read("w")
    write(path, w=old[:1])
    assert torch.equal(old, torch.arange(4096.0))
    assert SafetensorsFile(path).read("w").shape == (1,)
