"""A mapped file that becomes shorter while it is read: an error by its name, no dead process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Reads a map of argv[1] in the way that argv[2] says, after the file was cut.
SCRIPT = """
import hashlib, os, sys, threading
from pathlib import Path
import torch
from tfcli.checkpoints.io.disk import map_file
from tfcli.checkpoints.io.truncation import truncation_refused
from tfcli.errors import WorkError

path, how, cut, writable = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1"
path.write_bytes(bytes([1]) * 1_000_000)
data = map_file(path, 1_000_000, writable=writable)
tensor = torch.frombuffer(memoryview(data), dtype=torch.uint8)
ways = {
    "tensor": lambda: tensor.float().sum().item(),
    "bytes": lambda: sum(data[:]),
    "hash": lambda: hashlib.sha256(data).hexdigest(),
}
found = []
try:
    with truncation_refused():
        os.truncate(path, cut)
        if how == "thread":
            thread = threading.Thread(target=lambda: found.append(ways["tensor"]()))
            thread.start()
            thread.join()
        elif how != "nothing":
            found.append(ways[how]())
    print("fine", found)
except WorkError as error:
    print("refused", error.where, found)
sys.stdout.flush()
if how == "nothing" and cut < 1_000_000:
    ways["bytes"]()  # outside of the block
"""


def read(path: Path, how: str, cut: int, writable: bool = True) -> subprocess.CompletedProcess[str]:
    arguments = [str(path), how, str(cut), str(int(writable))]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("how", "writable"), [("tensor", True), ("bytes", False), ("hash", True), ("thread", False)]
)
def test_it_is_refused_by_name_and_the_work_goes_on(
    tmp_path: Path, how: str, writable: bool
) -> None:
    done = read(tmp_path / "x", how, 10_000, writable)
    assert done.returncode == 0, done.stderr
    # The rest of the page that the file ends in is zeros too.
    found = "10000" if how in ("tensor", "bytes", "thread") else ""
    assert done.stdout.startswith(f"refused {tmp_path / 'x'} [") and found in done.stdout


def test_a_file_that_stays_whole_is_read(tmp_path: Path) -> None:
    assert read(tmp_path / "x", "tensor", 1_000_000).stdout == "fine [1000000.0]\n"


def test_outside_of_the_block_the_signal_does_what_it_did(tmp_path: Path) -> None:
    done = read(tmp_path / "x", "nothing", 10_000)
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "fine []\n")
