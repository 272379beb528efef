"""What the machine can do at most: the rate at which it reads memory, and that of matrix products.

On x86 a plain vector loop reads (read.cpp, compiled as the kernels are); elsewhere, and where there
is no compiler, torch.sum does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from tfcli.models.kernels import build
from tfcli.models.kernels.library import LEVELS, status

MEMORY = {"cpu": 192 << 20, "cuda": 1 << 30}
"""Bytes that a reading goes through: more than most processors' caches hold."""
SIDE = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices that are multiplied."""
TIMES = 7
LOOP, SUM = "a plain vector loop", "torch.sum"


@dataclass(frozen=True)
class Reading:
    """How memory is read.

    Args:
        loop: its name.
        rate: one pass, in bytes a second.
    """

    loop: str
    rate: Callable[[], float]


def reader(device: str, threads: int) -> Reading:
    """The loop over memory of a device."""
    kind = device.partition(":")[0]
    memory = torch.ones(MEMORY.get(kind, MEMORY["cuda"]) // 4, device=device)
    read = _loop(memory, threads) if kind == "cpu" else None
    loop, once = (SUM, memory.sum) if read is None else (LOOP, read)

    def rate() -> float:
        with _threads(threads):
            wait(device)
            began = perf_counter()
            once()
            wait(device)
            return memory.nbytes / (perf_counter() - began)

    rate()
    return Reading(loop, rate)


def read_rate(reading: Reading) -> float:
    """Bytes a second: the median of a few passes."""
    return median(reading.rate() for _ in range(TIMES))


def product_rate(device: str, dtype: torch.dtype, threads: int) -> float:
    """Multiplications and additions a second of a large matrix product: the median of a few."""
    size = SIDE.get(device.partition(":")[0], SIDE["cuda"])
    a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    with _threads(threads):
        torch.mm(a, b)
        times = []
        for _ in range(TIMES):
            wait(device)
            began = perf_counter()
            torch.mm(a, b)
            wait(device)
            times.append(perf_counter() - began)
    return 2 * size**3 / median(times)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Within it torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _loop(memory: torch.Tensor, threads: int) -> Callable[[], object] | None:
    """One pass of read.cpp; None where it cannot be compiled or run."""
    if status().level is None:
        return None
    try:
        library = ctypes.CDLL(
            str(build.build([Path(__file__).with_name("read.cpp")], LEVELS["avx2"].flags))
        )
    except (build.BuildError, OSError):
        return None
    library.read_memory.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    return lambda: library.read_memory(memory.data_ptr(), memory.nbytes, threads)


def wait(device: str) -> None:
    """Wait until a device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()
