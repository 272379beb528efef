"""Files of torch.save, zip and legacy, against torch's own loader."""

from __future__ import annotations

import argparse
import datetime
import gc
import pickle
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.io.casting import raw_bytes
from tfcli.checkpoints.io.dtypes import TORCH_NAMES, torch_dtype
from tfcli.checkpoints.torch.file import TorchFile
from tfcli.errors import WorkError

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(content: Any, path: Path, zipped: bool = True, **options: Any) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def same(one: Tensor, other: Tensor) -> bool:
    bits = [raw_bytes(t.detach()) for t in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*bits)


def assert_as_torch(path: Path, expected: dict[str, Tensor] | None = None) -> TorchFile:
    """Every tensor equals the one that torch loads, in value and in stride."""
    expected = torch.load(path, weights_only=True) if expected is None else expected
    file = TorchFile(path)
    assert list(file.tensors) == list(expected)
    for name, tensor in expected.items():
        found, info = file.read(name), file.tensors[name]
        assert same(found, tensor), name
        steps = zip(tensor.shape, tensor.stride(), found.stride(), strict=True)
        assert not tensor.numel() or all(a == b for size, a, b in steps if size > 1)
        assert torch_dtype(info.dtype) == tensor.dtype
        assert info.nbytes == tensor.numel() * tensor.element_size()
    return file


def sample(code: str) -> Tensor:
    """Some bytes as [3, 4] of a dtype."""
    dtype = torch_dtype(code)
    if code == "BOOL":
        return torch.tensor([[True, False, True]])
    return (torch.arange(12 * dtype.itemsize, dtype=torch.uint8) % 100).view(dtype).reshape(3, 4)


@FORMATS
@pytest.mark.parametrize("code", TORCH_NAMES)
def test_every_dtype(tmp_path: Path, code: str, zipped: bool) -> None:
    path = save({"w": sample(code)}, tmp_path / "x.bin", zipped)
    # Of its newer types torch writes legacy files and does not read them.
    file = assert_as_torch(path, None if zipped else {"w": sample(code)})
    assert file.tensors["w"].dtype == code
    assert file.tensors["w"].shape == ((3, 8) if code == "F4" else tuple(sample(code).shape))


@FORMATS
def test_every_kind_of_view(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(60.0).reshape(3, 4, 5)
    content = {
        "whole": base,
        "transposed": base.transpose(0, 2),
        "slice": base[1:, ::2, 3],
        "row": base[2],
        "scalar": base[2, 3, 4],
        "own scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "empty slice": base[3:],
        "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 3),
        "one": torch.ones(1, 1, 1),
        "one of a slice": base[0, 0, ::2][:1],
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "overlapping": torch.arange(9).as_strided((4, 3), (2, 1)),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "frozen": torch.nn.Parameter(torch.randn(3), requires_grad=False),
        "buffer": torch.nn.Buffer(torch.randn(3)),
    }
    content["marked"] = torch.nn.Parameter(torch.randn(2))
    content["marked"].tensor_model_parallel = True
    file = assert_as_torch(save(content, tmp_path / "x.bin", zipped))
    # A stride that means nothing would keep torch from looking at the bytes.
    assert file.read("one of a slice").view(torch.uint8).shape == (4,)


@FORMATS
def test_a_module_s_state(tmp_path: Path, zipped: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    file = assert_as_torch(save(module.state_dict(), tmp_path / "x.bin", zipped))
    assert file.tensors["1.num_batches_tracked"].shape == ()
    assert file.extras == {}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@FORMATS
def test_every_protocol_of_pickle(tmp_path: Path, protocol: int, zipped: bool) -> None:
    content = OrderedDict(w=torch.randn(2, 3), step=3, names=["a", "b"], long="x" * 300)
    file = TorchFile(save(content, tmp_path / "x", zipped, pickle_protocol=protocol))
    assert same(file.read("w"), content["w"])
    assert file.extras == {"step": 3, "names": ["a", "b"], "long": "x" * 300}


def test_tied_tensors_share_their_memory(tmp_path: Path) -> None:
    weight = torch.randn(4, 3)
    content = {"embed": weight, "head": weight, "part": weight[1:, 1], "other": torch.ones(12)}
    file = assert_as_torch(save(content, tmp_path / "x.bin"))
    embed, head, part, other = (file.read(name) for name in content)
    assert embed.data_ptr() == head.data_ptr()
    assert part.data_ptr() == embed.data_ptr() + 4 * 4
    embed[1, 1] = other[0] = 9
    assert head[1, 1] == part[0] == 9
    assert file.read("other")[0] == 1


def test_tensors_of_one_storage_that_do_not_overlap_are_read_by_themselves(tmp_path: Path) -> None:
    """A trainer's flat parameters are views of one storage, of which none needs the others."""
    flat = torch.randn(1000)
    file = TorchFile(save({"a": flat[:10], "b": flat[10:]}, tmp_path / "x.bin"))
    a, b = file.read("a"), file.read("b")
    assert same(a, flat[:10]) and same(b, flat[10:])
    assert a.untyped_storage().nbytes() == 40
    assert b.data_ptr() != a.data_ptr() + 40


def test_what_is_shared_is_kept_only_as_long_as_a_tensor_of_it(tmp_path: Path) -> None:
    weight = torch.randn(4, 3)
    file = TorchFile(save({"embed": weight, "head": weight}, tmp_path / "x.bin"))
    embed = file.read("embed")
    embed.zero_()
    assert same(file.read("head"), torch.zeros(4, 3))
    del embed
    assert same(file.read("head"), weight)


@FORMATS
def test_a_write_to_a_tensor_stays_in_the_process(tmp_path: Path, zipped: bool) -> None:
    path = save({"w": torch.zeros(4)}, tmp_path / "x.bin", zipped)
    TorchFile(path).read("w").fill_(7)
    assert TorchFile(path).read("w").tolist() == [0] * 4


@FORMATS
def test_a_tensor_outlives_the_file_and_its_object(tmp_path: Path, zipped: bool) -> None:
    weight = torch.arange(5000.0)
    path = save({"a": weight, "tied": weight}, tmp_path / "x.bin", zipped)
    file = TorchFile(path)
    tensor = file.read("a")
    del file
    gc.collect()
    path.unlink()
    assert torch.equal(tensor, torch.arange(5000.0))


def test_legacy_data_at_any_place_is_read_right(tmp_path: Path) -> None:
    places = set()
    for length in range(4):
        values = torch.randn(50)
        content = {"w": values, "part": values[7:9], "pad": "x" * length}
        path = save(content, tmp_path / "x.bin", zipped=False)
        file = TorchFile(path)
        places.add(file.tensors["w"].start % 4)
        assert same(file.read("w"), values)
        assert same(file.read("part"), values[7:9])
        assert file.read("w").data_ptr() % 4 == 0
    assert places == {0, 1, 2, 3}


def test_a_legacy_file_may_hold_parts_of_storages(tmp_path: Path) -> None:
    """The first versions of torch gave a view of a storage a key of its own."""
    from tests.checkpoints.torch.hostile_pickles import (
        legacy,
        number,
        several,
        storage,
        table,
        tensor,
    )
    from tests.checkpoints.torch.hostile_pickles import text as word

    part = storage(legacy=True)[:-3] + b"(" + word("v") + number(1) + number(3) + b"t" + b"tQ"
    path = tmp_path / "x.bin"
    path.write_bytes(legacy(table(tensor(several(2), offset=number(1), held=part))))
    assert TorchFile(path).read("w").tolist() == [3, 4]


class Kind(Enum):
    ENCODER = 1


# Pickled by name: as if Megatron were there.
Kind.__module__, Kind.__qualname__ = "megatron.core.enums", "ModelType"


@FORMATS
def test_settings_are_read_as_records(
    tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import ModuleType

    for name in ("megatron", "megatron.core", "megatron.core.enums"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["megatron.core.enums"].ModelType = Kind
    args = argparse.Namespace(
        hidden_size=64,
        kind=Kind.ENCODER,
        dtype=torch.bfloat16,
        path=Path("a/b"),
        device=torch.device("cuda", 0),
        rate=np.float32(0.5),
        steps=np.int64(7),
        on=np.bool_(True),
        random=np.arange(3),
    )
    path = save({"w": torch.ones(2), "args": args}, tmp_path / "x.bin", zipped)
    for name in ("megatron", "megatron.core", "megatron.core.enums"):
        monkeypatch.delitem(sys.modules, name)
    file = TorchFile(path)
    found = file.extras["args"]
    assert found.kind == "argparse.Namespace"
    assert found.get("hidden_size") == 64
    assert (found.get("kind").kind, found.get("kind").args) == (
        "megatron.core.enums.ModelType",
        (1,),
    )
    assert found.get("dtype").name == "torch.bfloat16"
    assert found.get("path").args == ("a", "b")
    assert found.get("device").args == ("cuda", 0)
    assert (found.get("rate"), found.get("steps"), found.get("on")) == (0.5, 7, True)
    assert type(found.get("rate")) is float
    assert found.get("random").kind.endswith("_reconstruct")
    assert found.get("missing") is None
    assert "megatron" not in sys.modules
    assert file.metadata == {"args": "argparse.Namespace"}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_and_versions_are_records_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = {"w": torch.ones(1), "random": np.random.RandomState(0).get_state()}
    content |= {"torch": torch.torch_version.TorchVersion("2.1"), "slice": slice(1, 2)}
    file = TorchFile(save(content, tmp_path / "x.bin", pickle_protocol=protocol))
    name, array, *rest = file.extras["random"]
    assert (name, array.kind.split(".")[0], rest) == ("MT19937", "numpy", [624, 0, 0.0])
    assert file.extras["torch"].args == ("2.1",)
    assert file.extras["slice"].args == (1, 2, None)


@FORMATS
def test_plain_data_comes_back_as_it_is(tmp_path: Path, zipped: bool) -> None:
    content = {
        "w": torch.ones(2),
        "set": {1, "a"},
        "frozen": frozenset({2}),
        "bytes": b"\0\xff",
        "array": bytearray(b"ab"),
        "complex": 1 + 2j,
        "large": -(10**30),
        "counter": Counter("aab"),
        "default": defaultdict(list, a=[1]),
        "ordered": OrderedDict(b=1, a=2),
        "size": torch.Size([2, 3]),
        "nested": {"a": [None, True, 1.5, ("é", {})]},
        ("a", "b"): 1,
    }
    file = TorchFile(save(content, tmp_path / "x.bin", zipped))
    del content["w"], content[("a", "b")]
    assert {name: file.extras[name] for name in content} == content
    others = {"when": datetime.timedelta(1), "queue": deque([1, 2]), "w": torch.ones(1)}
    found = TorchFile(save(others, tmp_path / "y.bin", zipped)).extras
    assert (found["when"].kind, found["when"].args) == ("datetime.timedelta", (1, 0, 0))
    assert found["queue"].items == [1, 2]


def test_an_object_of_another_class_is_refused_by_name(tmp_path: Path) -> None:
    path = save({"w": torch.ones(1), "config": tmp_path.stat()}, tmp_path / "x.bin")
    with pytest.raises(WorkError, match=r"'os\.stat_result'") as error:
        TorchFile(path)
    assert error.value.where == str(path)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_types_that_safetensors_lacks_are_refused_by_name(tmp_path: Path) -> None:
    path = save({"w": torch.ones(1, dtype=torch.complex128)}, tmp_path / "x.bin")
    with pytest.raises(WorkError, match=r"'torch\.ComplexDoubleStorage'"):
        TorchFile(path)
    path = save({"w": torch.ones(1, dtype=torch.complex32)}, tmp_path / "x.bin")
    with pytest.raises(WorkError, match=r"'torch\.complex32', which is not read"):
        TorchFile(path)


def test_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    file = TorchFile(save({"w": torch.ones(1)}, tmp_path / "x.bin"))
    with pytest.raises(WorkError, match="holds no tensor 'v'"):
        file.read("v")


@FORMATS
def test_reading_one_tensor_of_a_large_file_takes_its_memory_alone(
    tmp_path: Path, zipped: bool
) -> None:
    # Larger than what the C library keeps for itself when it is freed.
    big = {f"w{number}": torch.zeros(9_000_000) for number in range(4)}
    path = save({"small": torch.ones(1000), **big}, tmp_path / "x.bin", zipped)
    code = f"""
import torch
from pathlib import Path
from tfcli.checkpoints.hf.source import open_tensors
def anonymous():
    text = Path("/proc/self/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0]) * 1024
torch.ones(1).sum().item()
before = anonymous()
source = open_tensors(Path({str(path)!r}))
assert source.nbytes == 144_004_000
for name in source:
    source[name].view(torch.uint8)[::4096].sum()
    print(anonymous() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert max(map(int, run.stdout.split())) < 36_000_000 + 8_000_000


def test_nothing_is_unpickled_by_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save({"w": torch.ones(1)}, tmp_path / "x.bin")

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("was called")

    for module, name in [(pickle, "load"), (pickle, "Unpickler"), (torch, "load")]:
        monkeypatch.setattr(module, name, refuse)
    assert open_tensors(path)["w"].item() == 1
