"""Scans against the recurrence, one token at a time."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.layers.state_space import CausalConv, chunked_scan, selective_scan


def test_a_convolution_in_parts_equals_one_pass():
    torch.manual_seed(0)
    conv = CausalConv(3, 4, bias=True)
    conv.weight.data.normal_()
    conv.bias.data.normal_()
    x = torch.randn(2, 9, 3)
    whole, _ = conv(x, None)
    first, before = conv(x[:, :2], None)
    second, before = conv(x[:, 2:3], before)
    third, _ = conv(x[:, 3:], before)
    assert torch.allclose(torch.cat((first, second, third), 1), whole, atol=1e-6)
    changed = x.clone()
    changed[:, 5:] = 0
    assert torch.equal(conv(changed, None)[0][:, :5], whole[:, :5])  # nothing from the future


def recurrence(x, step, decay, write, read):
    """One channel with n states, as written in the papers."""
    state, outputs = torch.zeros(decay.shape[0]).double(), []
    for at in range(len(x)):
        state = state * torch.exp(step[at] * decay) + step[at] * write[at] * x[at]
        outputs.append(state @ read[at])
    return torch.stack(outputs)


def test_selective_scan():
    torch.manual_seed(0)
    x, step = torch.randn(1, 7, 2), torch.rand(1, 7, 2)
    decay, write, read = -torch.rand(2, 3), torch.randn(1, 7, 3), torch.randn(1, 7, 3)
    out, state = selective_scan(x, step, decay, write, read, None)
    for channel in range(2):
        parts = (x[0, :, channel], step[0, :, channel], decay[channel], write[0], read[0])
        wanted = recurrence(*(part.double() for part in parts))
        assert torch.allclose(out[0, :, channel].double(), wanted, atol=1e-5)
    first, carried = selective_scan(x[:, :4], step[:, :4], decay, write[:, :4], read[:, :4], None)
    second, end = selective_scan(x[:, 4:], step[:, 4:], decay, write[:, 4:], read[:, 4:], carried)
    assert torch.allclose(torch.cat((first, second), 1), out, atol=1e-6)
    assert torch.allclose(end, state, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunked_scan(chunk):
    torch.manual_seed(0)
    x, step = torch.randn(1, 7, 4, 2), torch.rand(1, 7, 4)
    decay = -torch.rand(4)
    write, read = torch.randn(1, 7, 2, 3), torch.randn(1, 7, 2, 3)
    out, _ = chunked_scan(x, step, decay, write, read, None, chunk)
    for head in range(4):
        for channel in range(2):
            group = head // 2
            parts = (x[0, :, head, channel], step[0, :, head], decay[head].expand(3))
            wanted = recurrence(
                *(p.double() for p in (*parts, write[0, :, group], read[0, :, group]))
            )
            assert torch.allclose(out[0, :, head, channel].double(), wanted, atol=1e-5)
