"""RMS norms round as transformers' do, with gradients and without."""

from __future__ import annotations

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from tests.models.tiny import tiny_model
from tfcli.models.layers.norms import (
    OffsetRMSNorm,
    RMSNorm,
    RMSNormOfWeight,
    RMSNormRoundedLast,
)

PAIRS = [
    (RMSNorm, LlamaRMSNorm),
    (RMSNormRoundedLast, Olmo2RMSNorm),
    (RMSNormRoundedLast, GptOssRMSNorm),
    (RMSNormOfWeight, T5LayerNorm),
    (OffsetRMSNorm, GemmaRMSNorm),
]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pair(kind, theirs, weight_dtype, device="cpu"):
    values = torch.randn(48, generator=torch.Generator().manual_seed(0))
    norms = []
    for norm in (kind(48, 1e-6), theirs(48, 1e-6)):
        norm.weight.data = values.to(device, weight_dtype)
        norms.append(norm)
    return norms


def states(dtype, device="cpu"):
    return torch.randn(7, 5, 48, generator=torch.Generator().manual_seed(1)).to(device, dtype)


@pytest.mark.parametrize("weight_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("kind", "theirs"), PAIRS)
def test_they_round_as_transformers_does(kind, theirs, dtype, weight_dtype):
    ours, theirs = pair(kind, theirs, weight_dtype)
    x = states(dtype)
    mine, wanted = ours(x), theirs(x)
    assert mine.dtype == wanted.dtype
    assert torch.equal(mine, wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("kind", "theirs"), PAIRS)
def test_gradients(kind, theirs, dtype):
    ours, theirs = pair(kind, theirs, dtype)
    found = []
    for norm in (ours, theirs):
        x = states(dtype).requires_grad_()
        (norm(x).float() * torch.linspace(-1, 1, 48)).sum().backward()
        found.append((x.grad, norm.weight.grad))
    eps = torch.finfo(dtype).eps
    for mine, wanted in zip(*found, strict=True):
        assert mine.dtype == wanted.dtype
        torch.testing.assert_close(mine, wanted, rtol=4 * eps, atol=4 * eps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("kind", "theirs"), PAIRS)
def test_the_same_bits_with_gradients_and_without(kind, theirs, dtype, device):
    norm, other = pair(kind, theirs, dtype, device)
    x = states(dtype, device)
    with torch.no_grad():
        still = norm(x)
    assert torch.equal(still, norm(x))
    # Where a fused kernel sums in another order, a value may round to its neighbour.
    torch.testing.assert_close(still, other(x), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("model_type", ["llama", "olmo2", "gemma"])
def test_a_model_in_bfloat16_has_the_same_logits_in_training_and_after(model_type):
    model = tiny_model(model_type).bfloat16()
    ids = torch.arange(3, 15).view(2, 6)
    with torch.no_grad():
        still = model(ids).logits
    assert torch.equal(model(ids).logits, still)
