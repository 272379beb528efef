"""GPTQ as a method: what it does with what the walk shows it."""

from __future__ import annotations

import pytest
import torch

from tests.quantize.solvers.layers import layer
from tfcli.models.layouts.gptq import GPTQLayout
from tfcli.models.rules import Place
from tfcli.quantize.methods.gptq import GPTQ
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.spec import QuantizeSpec


def method_of(**keys) -> GPTQ:
    return GPTQ(QuantizeSpec(model="m", output="o", **keys), 32)


def plan(method: GPTQ, name: str, out_features: int, in_features: int) -> LinearPlan:
    packing = GPTQLayout.packing_for(method.format(name))
    return LinearPlan(name, Place(f"{name}.weight"), in_features, out_features, packing)


def test_a_linear_that_saw_no_input_goes_to_its_nearest_levels():
    method = method_of(bits=4)
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    found = method.quantize(plan(method, "expert", 32, 64), weight)
    assert found.dead_inputs == 64
    values = found.values
    levels = weight.view(32, 2, 32) / values.scales[:, :, None] + values.zeros[:, :, None]
    nearest = levels.round().clamp(0, 15).view(32, 64)
    assert torch.equal(values.levels.float(), nearest)


def quantized(found, dense=True, **keys):
    """The weight of a layer as the method leaves it, which sees its inputs window by window."""
    method = method_of(bits=3, **keys)
    rows, columns = found.weight.shape
    linear = plan(method, "linear", rows, columns)
    for inputs, plain in zip(found.drifted.split(64), found.dense.split(64), strict=True):
        method.observe([linear], inputs[None], plain[None] if dense else None)
    return method.quantize(linear, found.weight).values.dequantize()


def test_each_key_of_the_drift_changes_the_weight():
    found = layer(rows=16, columns=64, tokens=256)
    results = [quantized(found, drift=drift) for drift in ("auto", 0, 0.25, 0.5)]
    for at, one in enumerate(results):
        assert all(not torch.equal(one, other) for other in results[:at])
    errors = [found.held_out_error(one) for one in results]
    assert errors[0] < 0.9 * errors[1]


def test_without_the_dense_inputs_there_is_no_drift_to_make_up_for():
    """As of experts, whose tokens may be others in the dense model."""
    found = layer(rows=16, columns=64, tokens=256)
    assert torch.equal(quantized(found, dense=False), quantized(found, drift=0))


def test_the_dense_model_is_asked_for_only_where_it_is_looked_at():
    assert method_of().drifts
    assert method_of(drift=0.5).drifts
    assert not method_of(drift=0).drifts


def test_linears_that_share_inputs_share_what_is_kept_of_them():
    method, found = method_of(bits=3), layer(rows=32, columns=64, tokens=256)
    parts = dict(zip(("gate", "up"), found.weight.split(16), strict=True))
    linears = [plan(method, name, 16, 64) for name in parts]
    for inputs, plain in zip(found.drifted.split(64), found.dense.split(64), strict=True):
        method.observe(linears, inputs[None], plain[None])
    assert len(method.statistics) == 1
    whole = quantized(found)
    for linear, expected in zip(linears, whole.split(16), strict=True):
        values = method.quantize(linear, parts[linear.name]).values.dequantize()
        # Each finds its own share of the drift, so levels may differ here and there.
        assert (values - expected).norm() < 0.1 * expected.norm()
        method.forget(linear)
    assert len(method.statistics) == 0


def test_rounding_cannot_weigh_errors_by_what_it_never_saw():
    with pytest.raises(ValueError, match="scale_search: hessian needs calibration"):
        QuantizeSpec(model="m", output="o", method="rtn", scale_search="hessian")
