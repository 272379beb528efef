"""Whether what was written is what it was made of: both are read as views and compared."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.io.tensor_pieces import same_after_cast
from tfcli.checkpoints.plan import Plan, Planned, equal_bits
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.ties import config_ties
from tfcli.console import Bar
from tfcli.errors import WorkError

_THREADS = 4


def verify(plan: Plan, written: Checkpoint, bar: Bar) -> None:
    """Compare what was written with the source, tensor by tensor.

    Tensors that are taken from both files as they are, piece by piece, need little memory, so
    several are compared at a time; those that must be made are made one after the other.

    Raises:
        WorkError: a tensor is missing, was not asked for, or differs in type, shape or any bit.
    """
    planned = {item.tensor.name: item for item in plan.written}
    ties = config_ties(plan.config, written.tensors)
    twins = {name: origin for name, origin in ties.items() if name not in planned}
    odd = sorted((written.tensors.keys() - twins.keys()) ^ planned.keys())
    if odd:
        raise WorkError(f"verification: {short(odd[0])} is missing or was not to be written")
    for name, origin in twins.items():  # some containers have a tied tensor under both names
        if not equal_bits(written, name, origin):
            raise WorkError(f"verification: {short(name)} differs from {short(origin)}")

    def check(item: Planned) -> None:
        name = item.tensor.name
        found = written.tensors[name]
        if found.dtype != item.dtype or not same_after_cast(item.tensor.values, found.values):
            raise WorkError(
                f"verification: {short(name)} differs from the source",
                where=str(written.path),
                fix="run it again; if it happens again, check the disk and the memory",
            )
        bar.advance()

    stored = []
    for name, item in planned.items():
        if item.tensor.how or written.tensors[name].how:
            check(item)
        else:
            stored.append(item)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for future in [pool.submit(check, item) for item in stored]:
            try:
                future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
