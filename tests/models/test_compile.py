"""A forward pass is one graph: nothing in it asks a value of a tensor, or what dynamo cannot trace.

With dynamo's own eager backend, which traces as the real ones do and needs no compiler.
"""

from __future__ import annotations

import pytest
import torch

from tests.models import seq2seq_parity
from tests.models.parity import CASES, assert_close, inputs, reference, twin
from tfcli.models.stacking import stack_experts

NAMES = (
    "llama-plain",
    "mixtral-plain",
    "phi3-longrope",
    "gemma3-plain",
    "bloom-plain",
    "deepseek_v3-plain",
    "bert-plain",
)
