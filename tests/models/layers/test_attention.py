"""Attention layers with caches and groups of tokens that see each other."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.cache import make_cache
from tfcli.models.context import begin
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.rotary import Rotary

GROUPS = torch.tensor([[-1, 0, 0, 0, 0, -1, 1, 1], [-1, -1, 0, 0, 0, -1, -1, -1]])
"""Of a prompt: two images in one row, one in the other. What follows it is text."""


def run(layer, x, groups=None, cache=None, attention_mask=None):
    context = begin(x, cache=cache, attention_mask=attention_mask)
    context.sight.groups = groups
    out = layer(x, context)
    if cache is not None:
        cache.advance(x.shape[1])
    return out


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("backend", ["sdpa", "eager", "flex"])
@pytest.mark.parametrize("window", [None, 3])
def test_a_prompt_with_groups_then_single_tokens(window, backend, padded):
    """A window is narrower than the groups; a sliding store keeps no more than it."""
    torch.manual_seed(0)
    rotary = Rotary({"rope_type": "default", "rope_theta": 100.0}, 8, 32)
    layer = RotaryAttention(16, 4, 2, 8, layer=0, rotary=rotary, backend=backend, window=window)
    x = torch.randn(2, 11, 16)
    mask = torch.ones(2, 11, dtype=torch.long)
    if padded:
        mask[1, :2] = 0
    with torch.no_grad():
        text = torch.full((2, 3), -1)
        whole = run(layer, x, torch.cat((GROUPS, text), 1), attention_mask=mask)
        cache = make_cache(layer)
        parts = [run(layer, x[:, :8], GROUPS, cache, mask[:, :8])]
        for at in range(8, 11):
            parts.append(run(layer, x[:, at : at + 1], None, cache, mask[:, : at + 1]))
        plain = run(layer, x, attention_mask=mask)
    real = mask.bool()
    torch.testing.assert_close(torch.cat(parts, 1)[real], whole[real])
    assert (plain - whole)[0, 1:4].abs().amax(-1).min() > 1e-3  # inside of a group
    torch.testing.assert_close(plain[:, 0][real[:, 0]], whole[:, 0][real[:, 0]])
