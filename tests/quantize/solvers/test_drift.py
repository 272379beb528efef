"""The weight that makes up for drifted inputs, and how much of the way there is gone."""

import pytest
import torch

from tests.quantize.solvers.layers import layer
from tfcli.quantize.solvers.drift import best_share, drift_target
from tfcli.quantize.solvers.hessian import Statistics


def observed(found, *, hold_out=True, window=64):
    statistics = Statistics.empty(found.weight.shape[1], drift=True, hold_out=hold_out)
    count = len(found.dense) // window * window
    shape = (-1, window, found.weight.shape[1])
    statistics.add(found.drifted[:count].view(shape), found.dense[:count].view(shape))
    statistics.close()
    return statistics, statistics.factor("group", 64, 0.01)


@pytest.mark.parametrize("outputs", [64, 192])  # fewer than inputs, and more
def test_the_target_is_the_ridge_regression_to_the_dense_outputs(outputs):
    found = layer(columns=128, tokens=1024)
    statistics, factor = observed(found)
    given = found.weight.repeat(outputs // len(found.weight), 1)
    target = drift_target(given, statistics, factor, 1.0)
    weight, quantized, dense = (one.double() for one in (given, found.drifted, found.dense))
    ridge = factor.ridge.double().diag()
    # W* = W (G + l I) H~^-1
    expected = (weight @ (dense.t() @ quantized + ridge)) @ torch.linalg.inv(
        quantized.t() @ quantized + ridge
    )
    torch.testing.assert_close(target.double(), expected, rtol=1e-3, atol=1e-4)


def test_a_share_is_a_part_of_the_way():
    found = layer(columns=128, tokens=1024)
    statistics, factor = observed(found)
    whole, half, none = (
        drift_target(found.weight, statistics, factor, share) for share in (1.0, 0.5, 0.0)
    )
    torch.testing.assert_close(half, (whole + found.weight) / 2)
    assert torch.equal(none, found.weight)


def test_the_best_share_is_the_one_with_the_least_error_on_the_tokens_held_out():
    """Against trying shares, with a target that is fitted without these tokens."""
    found = layer(columns=128, tokens=128)  # so few that W* fits their noise
    statistics, _ = observed(found)
    windows = (found.drifted.view(-1, 64, 128), found.dense.view(-1, 64, 128))
    alone = Statistics.empty(128, drift=True)
    alone.add(*(one[:, :56] for one in windows))
    alone.close()
    target = drift_target(found.weight, alone, alone.factor("group", 64, 0.01), 1.0)
    quantized, dense = (one[:, 56:].reshape(-1, 128) for one in windows)

    def error(share):
        weight = found.weight + share * (target - found.weight)
        return (dense @ found.weight.t() - quantized @ weight.t()).square().sum().item()

    tried = min((error(step / 100), step / 100) for step in range(101))[1]
    assert 0.1 < tried < 0.95  # so that the test can tell
    assert best_share(found.weight, statistics, 0.01) == pytest.approx(tried, abs=0.02)


def test_noise_alone_is_not_followed():
    """Where the dense inputs are something else altogether, the share is small."""
    found = layer(columns=128, tokens=192)
    noise = torch.randn(192, 128, generator=torch.Generator().manual_seed(3))
    statistics = Statistics.empty(128, drift=True, hold_out=True)
    shape = (-1, 64, 128)
    statistics.add(found.drifted.view(shape), (found.drifted + noise).view(shape))
    statistics.close()
    assert best_share(found.weight, statistics, 0.01) < 0.3


def test_inputs_that_have_not_drifted_leave_the_weight_alone():
    found = layer(columns=128, tokens=512)
    statistics = Statistics.empty(128, drift=True, hold_out=True)
    statistics.add(found.dense.view(-1, 64, 128), found.dense.view(-1, 64, 128))
    statistics.close()
    assert best_share(found.weight, statistics, 0.01) == 0
    factor = statistics.factor("group", 64, 0.01)
    assert torch.equal(drift_target(found.weight, statistics, factor, 1.0), found.weight)


def test_a_share_cannot_be_chosen_where_no_tokens_are_held_out():
    found = layer(columns=128, tokens=512)
    statistics, _ = observed(found, hold_out=False)
    with pytest.raises(TypeError, match="held out"):
        best_share(found.weight, statistics, 0.01)
