"""Activations beside those of transformers: values and gradients, and the same names."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.config import ACTIVATIONS, require_activation
from tfcli.models.errors import ModelError
from tfcli.models.layers.activations import activation

LEARNED = ("prelu", "xielu")
"""They have parameters, so they are modules of a family."""


def _both(name: str, dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    from transformers.activations import ACT2FN

    found = []
    for function in (activation(name), ACT2FN[name]):
        x = torch.cat([torch.linspace(-13, 13, 401), torch.linspace(-0.5, 0.5, 101)]).to(dtype)
        x.requires_grad_()
        y = function(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        found.append((y.detach(), gradient))
    return found


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_gradients_are_those_of_transformers(name):
    ours, theirs = _both(name, torch.float64)
    # gelu_fast of transformers rounds sqrt(2 / pi) to ten digits.
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)
    ours, theirs = _both(name, torch.float32)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


def test_every_name_of_transformers_is_there():
    from transformers.activations import ACT2CLS

    assert {*ACTIVATIONS, *LEARNED} == set(ACT2CLS)


def test_an_activation_with_parameters_is_refused_by_its_name():
    for name in LEARNED:
        with pytest.raises(ModelError, match=f"hidden_act='{name}' is not an activation"):
            require_activation(name, "hidden_act")
        with pytest.raises(ModelError, match=f"unknown activation '{name}'"):
            activation(name)
