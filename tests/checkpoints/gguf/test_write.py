"""Reading back: a file that holds anything else than was planned is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints.gguf.convert import plan
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import write_folder
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.plan import ToGGUF
from tfcli.checkpoints.gguf.repack import plan_repack
from tfcli.checkpoints.gguf.write import verify, write
from tfcli.errors import WorkError

NAMES = ("blk.0.attn_k.weight", "blk.1.ffn_down.weight", "output_norm.weight")


@pytest.fixture
def planned(tmp_path: Path) -> ToGGUF:
    write_folder(tmp_path / "hf", "llama")
    return plan(tmp_path / "hf", "q8_0", [("ffn_down", "f16")])


def flip(file: Path, name: str) -> None:
    """Change the highest bits of one byte in the middle of a tensor."""
    info = GGUFFile(file).info(name)
    data = bytearray(file.read_bytes())
    data[info.start + info.nbytes // 2 | 1] ^= 0x60
    file.write_bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit(name, planned, tmp_path):
    write(planned, tmp_path / "a.gguf")
    assert verify(planned, tmp_path / "a.gguf")
    flip(tmp_path / "a.gguf", name)
    with pytest.raises(WorkError, match=f"a.gguf: {name}"):
        verify(planned, tmp_path / "a.gguf")


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_in_what_was_kept(name, planned, tmp_path):
    write(planned, tmp_path / "a.gguf")
    kept = plan_repack(tmp_path / "a.gguf")
    write(kept, tmp_path / "b.gguf")
    assert verify(kept, tmp_path / "b.gguf") == {}
    flip(tmp_path / "b.gguf", name)
    with pytest.raises(WorkError, match=f"b.gguf: {name}"):
        verify(kept, tmp_path / "b.gguf")


@pytest.mark.parametrize(
    ("drop", "change", "problem"),
    [
        ("general.type", {}, "general.type is not in the file"),
        ("$^", {"llama.block_count": Value("uint32", 3)}, "llama.block_count is not in the file"),
        ("$^", {"llama.block_count": Value("uint64", 2)}, "llama.block_count is not in the file"),
        ("output_norm", {}, "holds other tensors"),
    ],
)
def test_other_keys_and_tensors(drop, change, problem, planned, tmp_path):
    write(planned, tmp_path / "a.gguf")
    edited = rewrite(tmp_path / "a.gguf", tmp_path / "b.gguf", drop, change)
    with pytest.raises(WorkError, match=problem):
        verify(planned, edited)


def test_every_tensor_is_told_as_it_is_written_and_checked(planned, tmp_path):
    seen: list[int] = []
    write(planned, tmp_path / "a.gguf", lambda: seen.append(1))
    verify(planned, tmp_path / "a.gguf", lambda: seen.append(2))
    count = len(planned.targets)
    assert seen == [1] * count + [2] * count
