"""The delta rule chunk by chunk against the recurrence of the paper, one token at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from tfcli.models.layers.delta_net import delta_rule


def drawn(length: int) -> tuple[torch.Tensor, ...]:
    """Queries, keys, values, decays and strengths of two heads."""
    torch.manual_seed(0)
    query, key = (normalize(torch.randn(1, length, 2, 3), dim=-1) for _ in range(2))
    value = torch.randn(1, length, 2, 4)
    return query, key, value, -torch.rand(1, length, 2), torch.rand(1, length, 2)


def recurrence(query, key, value, decay, strength):
    """One head, in float64: S <- e^decay S (1 - strength k k^T) + strength v k^T, and S q."""
    state, outputs = torch.zeros(value.shape[-1], key.shape[-1]).double(), []
    for at in range(len(key)):
        k, v, s = key[at], value[at], strength[at]
        keep = torch.eye(len(k)).double() - s * torch.outer(k, k)
        state = decay[at].exp() * state @ keep + s * torch.outer(v, k)
        outputs.append(state @ query[at])
    return torch.stack(outputs), state


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_chunks_equal_the_recurrence(chunk):
    parts = drawn(70)
    out, state = delta_rule(*parts, None, chunk)
    for head in range(2):
        wanted, end = recurrence(*(part[0, :, head].double() for part in parts))
        torch.testing.assert_close(out[0, :, head].double(), wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(state[0, head].T.double(), end, atol=1e-5, rtol=0)


def test_steps_go_on_from_a_prompt():
    parts = drawn(9)
    whole, end = delta_rule(*parts, None)
    outputs, state = [], None
    for start, stop in ((0, 4), (4, 5), (5, 6), (6, 9)):
        out, state = delta_rule(*(part[:, start:stop] for part in parts), state)
        outputs.append(out)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(state, end, atol=1e-6, rtol=0)


def test_a_token_without_strength_and_decay_leaves_the_memory_as_it_is():
    parts = list(drawn(6))
    parts[3], parts[4] = parts[3].clone(), parts[4].clone()
    parts[3][:, :2], parts[4][:, :2] = 0, 0
    _, state = delta_rule(*parts, None)
    _, alone = delta_rule(*(part[:, 2:] for part in parts), None)
    torch.testing.assert_close(state, alone, atol=1e-6, rtol=0)
