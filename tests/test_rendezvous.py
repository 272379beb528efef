"""Processes of one start find one another in a store that has what earlier ones left."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from torch.distributed import HashStore

from tfcli.errors import WorkError
from tfcli.rendezvous import meet


def start(store: HashStore, count: int) -> list[bytes | None]:
    """What each process of a start finds in its store of an earlier one, before it writes."""
    found: list[bytes | None] = [None] * count
    here = threading.Barrier(count)

    def process(rank: int) -> None:
        own = meet(store, rank, count, timedelta(seconds=20))
        found[rank] = own.get("address") if own.check(["address"]) else None
        here.wait()
        if rank == 0:
            own.set("address", "of this start")
        here.wait()
        assert own.get("address") == b"of this start", "all of them use one"

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return found


def test_what_an_earlier_start_left_is_not_seen():
    store = HashStore()
    for count in (3, 3, 2, 4):
        assert start(store, count) == [None] * count


def test_who_does_not_come_is_named():
    with pytest.raises(WorkError, match="ranks 1, 2 of the processes"):
        meet(HashStore(), 0, 3, timedelta(seconds=0.1))
    with pytest.raises(WorkError, match="rank 0 of the processes"):
        meet(HashStore(), 2, 3, timedelta(seconds=0.1))
