"""Processes that a launcher may start again find those of the same start.

torchrun's agents keep one store for all starts of a run. What processes of an earlier start left
there, such as their addresses, is still in it when they are started again, and whoever reads it
first calls processes that are gone. So before they form a group, the first process agrees with each
of the others on a name for this start, and they use what is below that name alone.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import PrefixStore, Store

from tfcli.errors import WorkError

PATIENCE = timedelta(minutes=10)
"""For processes that are still being started."""
_PAUSE = 0.02


def meet(store: Store, rank: int, count: int, patience: timedelta = PATIENCE) -> Store:
    """A store in which nothing lies, the same for all processes of this start.

    Args:
        store: of this start and earlier ones.
        rank: of this process.
        count: how many they are.
        patience: how long to wait for the others.

    Raises:
        WorkError: some did not come.
    """
    lead = _lead if rank == 0 else _follow
    return PrefixStore(lead(PrefixStore("tfcli", store), rank, count, patience), store)


def _lead(store: Store, rank: int, count: int, patience: timedelta) -> str:
    name = uuid.uuid4().hex
    answered: dict[int, bytes] = {}
    missing = set(range(1, count))

    def all_here() -> bool:
        for other in sorted(missing):
            # A word that an earlier process of this rank left is answered, too; nobody reads that.
            word = _said(store, f"word/{other}")
            if word is not None and word != answered.get(other):
                store.set(f"answer/{other}", f"{word.decode()} {name}")
                answered[other] = word
            if store.check([f"{name}/{other}"]):
                missing.discard(other)
        return not missing

    _wait(all_here, patience, lambda: f"ranks {', '.join(map(str, sorted(missing)))}")
    return name


def _follow(store: Store, rank: int, count: int, patience: timedelta) -> str:
    word = uuid.uuid4().hex
    store.set(f"word/{rank}", word)
    name = ""

    def is_answered() -> bool:
        nonlocal name
        heard, _, name = (_said(store, f"answer/{rank}") or b"").decode().partition(" ")
        return heard == word

    _wait(is_answered, patience, lambda: "rank 0")
    store.set(f"{name}/{rank}", "here")
    return name


def _said(store: Store, key: str) -> bytes | None:
    return bytes(store.get(key)) if store.check([key]) else None


def _wait(until: Callable[[], bool], patience: timedelta, missing: Callable[[], str]) -> None:
    end = time.monotonic() + patience.total_seconds()
    while not until():
        if time.monotonic() > end:
            raise WorkError(
                f"{missing()} of the processes that were started together did not come",
                fix="look at what they, or their machines' launchers, say",
            )
        time.sleep(_PAUSE)


def form_group(backend: str) -> None:
    """Form the group of the processes that a launcher has started together."""
    store, rank, count = next(dist.rendezvous("env://"))
    dist.init_process_group(backend, store=meet(store, rank, count), rank=rank, world_size=count)
