"""GPTQ as a method: what it does with what the walk shows it."""

from __future__ import annotations

import torch

from tfcli.models.layouts.gptq import GPTQLayout
from tfcli.models.rules import Place
from tfcli.quantize.methods.gptq import GPTQ
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.rtn import round_to_nearest
from tfcli.quantize.spec import QuantizeSpec


def test_a_linear_that_saw_no_input_is_rounded_to_nearest():
    method = GPTQ(QuantizeSpec(model="m", output="o", bits=4), 32)
    form = method.format("expert")
    place = Place("expert.weight")
    linear = LinearPlan("expert", place, 64, 32, GPTQLayout.packing_for(form))
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    found = method.quantize(linear, weight)
    assert torch.equal(found.values.dequantize(), round_to_nearest(weight, form).dequantize())
    assert found.dead_inputs == 64
