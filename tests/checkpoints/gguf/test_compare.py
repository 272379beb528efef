"""Comparing what was written with what was to be written."""

import pytest
import torch

from tests.checkpoints.gguf.test_quants import QUANTIZED, rows, theirs
from tfcli.checkpoints.gguf.compare import require_equal
from tfcli.errors import WorkError


def test_plain_values_must_be_equal_bit_for_bit():
    values = torch.randn(40, 64)
    assert require_equal(values, values.clone(), "F32", "x") == 0
    assert 0 < require_equal(values, values.bfloat16(), "BF16", "x") < 0.004
    for wrong in (values.nextafter(torch.tensor(9.0)), -values):
        with pytest.raises(WorkError, match="not those that were written"):
            require_equal(values, wrong, "F32", "file: x")
    zero = torch.zeros(1, 32)
    with pytest.raises(WorkError):
        require_equal(zero, -zero, "F32", "x")


def test_nan_is_equal_to_the_same_nan():
    values = torch.full((1, 32), float("nan"))
    require_equal(values, values.clone(), "F32", "x")
    values[0, :3] = torch.tensor([1.0, 0.1, float("inf")])
    assert 0 < require_equal(values, values.half(), "F16", "x") < 1e-3  # of the finite ones


@pytest.mark.parametrize("kind", QUANTIZED)
def test_quantized_values_must_lie_within_their_blocks_rounding(kind):
    values = rows()
    raw = torch.from_numpy(theirs(values, kind))
    assert 0 < require_equal(values, raw, kind, "x") < 0.13
    damaged = raw.clone()
    damaged[200, -1] ^= 0x44
    with pytest.raises(WorkError, match=f"by more than {kind} explains") as caught:
        require_equal(values, damaged, kind, "file: x")
    assert "file: x" in str(caught.value)
    with pytest.raises(WorkError):
        require_equal(values.flip(0), raw, kind, "x")
