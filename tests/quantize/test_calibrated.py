"""GPTQ's hooks in the calibration loop."""

from __future__ import annotations

import torch

from tfcli.quantize.calibrated import GPTQMethod
from tfcli.quantize.gptq import GPTQOptions
from tfcli.quantize.grid import GridOptions
from tfcli.quantize.rtn import round_to_nearest


def test_a_linear_that_saw_no_input_is_rounded_to_nearest():
    grid = GridOptions(bits=4, group_size=32, symmetric=True, clip_search=False)
    method = GPTQMethod(grid, GPTQOptions(), {"expert": "expert.weight"})
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    found = method.quantize("expert", weight)
    assert torch.equal(found, round_to_nearest(weight, grid).dequantize())
    assert method.results["expert"].outcome.dead_inputs == 64
