"""What FSDP and tensor parallelism refuse; what is spread is in test_ranks.py."""

from __future__ import annotations

import pytest
import torch

from tfcli.errors import UsageError
from tfcli.process_group import Processes
from tfcli.train.strategies.fsdp import FSDP
from tfcli.train.strategies.spec import FSDPSection, TensorParallelSection
from tfcli.train.strategies.tp import TensorParallel


def processes(count: int) -> Processes:
    return Processes(0, count, torch.device("cpu"))


@pytest.mark.parametrize("group", [3, 8])
def test_groups_that_do_not_share_out_the_processes_are_refused(group):
    with pytest.raises(UsageError, match=f"groups of {group} .* the 4 of this run"):
        FSDP(processes(4), FSDPSection(group_size=group))


def test_the_cpu_cannot_be_offloaded_to_itself():
    with pytest.raises(UsageError, match="on the CPU already"):
        FSDP(processes(1), FSDPSection(cpu_offload=True))


def test_groups_that_share_blocks_share_out_the_processes():
    with pytest.raises(UsageError, match=r"groups of 2 .* the 3 of this run") as error:
        TensorParallel(processes(3), FSDPSection(), TensorParallelSection())
    assert error.value.where == "tp.size"
    with pytest.raises(UsageError, match=r"groups of 3 .* the 4 of this run"):
        TensorParallel(processes(8), FSDPSection(group_size=3), TensorParallelSection())
    made = TensorParallel(processes(8), FSDPSection(group_size=2), TensorParallelSection())
    assert made.mesh_shape() == ((2, 2), ("replicate", "shard"))
