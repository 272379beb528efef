"""What a forward pass may not do on a device: wait for it. Shown without one, on shapes alone.

Tensors of the meta device have no values, so that whatever reads one fails: ids, padding,
positions, the counts of experts. Copies from the host are counted, where a second pass makes them
again.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models.parity import CASES, inputs, pair_id, reference, twin
from tests.models.seq2seq_parity import CASES as SEQ2SEQ
from tfcli.models.cache import DynamicCache
from tfcli.models.loading import build
from tfcli.models.registry import read_config
from tfcli.models.stacking import stack_experts

pytestmark = pytest.mark.families


class Copies(TorchDispatchMode):
    """The operations that move values from the host to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [each for each in args if isinstance(each, torch.Tensor)]
        from_host = any(each.device.type == "cpu" and each.ndim for each in given)
        if from_host and isinstance(out, torch.Tensor) and out.is_meta:
            self.found.append(str(func))
        return out
