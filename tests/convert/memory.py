"""How much memory of its own something takes, beside the libraries that are mapped."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.io.memory import freed_at_once

SLACK = 24_000_000  # what Python and torch's allocator may keep beside the tensors, in bytes


def anonymous() -> int:
    """RssAnon of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells no RssAnon")


def peak_growth(work: Callable[[], None]) -> int:
    """By how many bytes RssAnon grows at most while `work` runs."""
    gc.collect()
    before = anonymous()
    highest, done = before, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.0005):
            highest = max(highest, anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return max(highest, anonymous()) - before


def assert_bounded(open_checkpoint: Callable[[], Checkpoint]) -> None:
    """Read every tensor of a view, one after the other, within twice the largest of them."""
    for tensor in open_checkpoint():
        tensor.read()  # what torch loads and keeps at its first use
        break
    total, largest = 0, 0

    def read_all() -> None:
        nonlocal total, largest
        view = open_checkpoint()
        total, largest = view.nbytes, view.largest
        for tensor in view:
            tensor.read().sum()

    with freed_at_once():  # as in a conversion
        growth = peak_growth(read_all)
    assert total > 2 * (2 * largest + SLACK), "the checkpoint is too small to tell"
    assert growth < 2 * largest + SLACK, f"{growth / 1e6:.0f} MB, largest {largest / 1e6:.0f} MB"
