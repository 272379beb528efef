"""What it refuses; what is spread is in test_ranks.py."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tfcli.errors import UsageError
from tfcli.process_group import Processes
from tfcli.train.strategies.fsdp import FSDP
from tfcli.train.strategies.spec import FSDPSection


@pytest.mark.parametrize("group", [3, 8])
def test_groups_that_do_not_share_out_the_processes_are_refused(group, monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    strategy = FSDP(Processes(0, 4, torch.device("cpu")), FSDPSection(group_size=group))
    with pytest.raises(UsageError, match=f"groups of {group} .* the 4 of this run"):
        strategy.spread(nn.Linear(2, 2))


def test_the_cpu_cannot_be_offloaded_to_itself(monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    strategy = FSDP(Processes(0, 1, torch.device("cpu")), FSDPSection(cpu_offload=True))
    with pytest.raises(UsageError, match="on the CPU already"):
        strategy.spread(nn.Linear(2, 2))
