"""Attention in tiles of queries gives what the formula gives."""

import pytest
import torch

from tfcli.models.layers import tiles
from tfcli.models.layers.backends import Scores, eager, sdpa
from tfcli.models.layers.masks import AttentionMask

SCORES = Scores(scale=0.3)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


def heads(batch: int, count: int, length: int, width: int, dtype=torch.float32) -> torch.Tensor:
    """As a layer makes them: positions before heads in memory."""
    generator = torch.Generator().manual_seed(count * length + width)
    return torch.randn(batch, length, count, width, generator=generator).to(dtype).transpose(1, 2)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("count", "kv_count", "queries", "width"), [(4, 4, 64, 16), (6, 2, 131, 8), (8, 1, 200, 24)]
)
def test_every_shape_and_type_equals_the_formula(count, kv_count, queries, width, causal, dtype):
    query = heads(3, count, queries, 16, dtype)
    key, value = heads(3, kv_count, queries, 16, dtype), heads(3, kv_count, queries, width, dtype)
    with torch.no_grad():
        found = tiles.attend(query, key, value, SCORES.scale, causal)
        mask = AttentionMask(causal=causal)
        exact = eager(query.double(), key.double(), value.double(), mask, SCORES)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double(), exact, rtol=0, atol=TOLERANCE[dtype] * exact.abs().max().item()
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.preserve_format], ids=str)
def test_how_heads_lie_in_memory_changes_nothing(layout):
    query, key, value = (heads(3, count, 96, 16) for count in (6, 2, 2))
    with torch.no_grad():
        exact = eager(query, key, value, AttentionMask(causal=True), SCORES)
        laid = (each.clone(memory_format=layout) for each in (query, key, value))
        found = tiles.attend(*laid, SCORES.scale, causal=True)
    torch.testing.assert_close(found, exact)


def test_keys_may_be_more_than_queries_where_all_are_seen():
    query, key, value = heads(1, 4, 70, 16), heads(1, 2, 90, 16), heads(1, 2, 90, 16)
    with torch.no_grad():
        found = tiles.attend(query, key, value, SCORES.scale, causal=False)
        torch.testing.assert_close(found, eager(query, key, value, AttentionMask(), SCORES))


@pytest.mark.skipif(not tiles.are_fast(), reason="tiles are for x86 processors without AMX")
def test_only_long_prompts_without_gradients_masks_and_caps_go_by_tiles(monkeypatch):
    calls = []
    attend = tiles.attend
    monkeypatch.setattr(tiles, "attend", lambda *args: calls.append(args) or attend(*args))
    long, short = heads(1, 2, 64, 8), heads(1, 2, 63, 8)
    causal, capped = AttentionMask(causal=True), Scores(scale=0.3, softcap=20.0)
    padded = AttentionMask(torch.ones(1, 1, 64, 64, dtype=torch.bool).tril())
    with torch.no_grad():
        for taken, query, mask, scores in [
            (True, long, causal, SCORES),
            (True, long, AttentionMask(), SCORES),
            (False, short, causal, SCORES),
            (False, long, padded, SCORES),
            (False, long, causal, capped),
        ]:
            calls.clear()
            sdpa(query, query, query, mask, scores)
            assert bool(calls) == taken
    calls.clear()
    sdpa(long.requires_grad_(), long, long, causal, SCORES)
    assert not calls


def test_what_would_hold_too_many_scores_is_left_to_the_fused_kernel():
    long = torch.empty(1, 32, 1 << 14, 8, device="meta")
    assert not tiles.fits_tiles(long, long)
    assert tiles.fits_tiles(long[:, :, :4096], long[:, :, :4096])
