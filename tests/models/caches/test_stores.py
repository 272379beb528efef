"""What a layer's store gives back, whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tfcli.models.cache import DynamicCache, StaticCache
from tfcli.models.caches.offloaded import OffloadedStore
from tfcli.models.caches.stores import FixedStore, GrowingStore, SlidingStore, Store
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize

LENGTH = 700  # longer than the room that a sliding store has behind its window, twice over
STORES: dict[str, Callable[[], Store]] = {
    "growing": GrowingStore,
    "fixed": lambda: FixedStore(LENGTH),
    "offloaded": OffloadedStore,
}
every_store = pytest.mark.parametrize("make", STORES.values(), ids=STORES)


def states(length: int = LENGTH, key_dim: int = 4, value_dim: int = 6) -> tuple:
    """Keys and values that say where they belong."""
    torch.manual_seed(0)
    return torch.randn(2, 3, length, key_dim), torch.randn(2, 3, length, value_dim)


def feed(store: Store, keys: torch.Tensor, values: torch.Tensor, sizes: list[int]) -> None:
    """Give a store a text in parts, and check what it gives back each time."""
    window = getattr(store, "window", None)
    end = 0
    for size in sizes:
        kept = store.kept
        assert kept == (end if window is None else min(end, window - 1))
        part = slice(end, end + size)
        given = store.update(keys[:, :, part], values[:, :, part])
        end += size
        for got, whole in zip(given, (keys, values), strict=True):
            assert torch.equal(got, whole[:, :, end - size - kept : end])


@every_store
@pytest.mark.parametrize("sizes", [[300, 100] + [1] * 300, [1] * LENGTH, [LENGTH]], ids=len)
def test_a_store_gives_back_what_it_was_given(make, sizes):
    feed(make(), *states(), sizes)


@pytest.mark.parametrize("window", [1, 2, 8, 300])
@pytest.mark.parametrize(
    "sizes",
    [[1] * LENGTH, [7, 250] + [1] * 400, [400] + [1] * 300, [5, 400, 3, 257] + [1] * 35],
    ids=["single", "chunks", "long prompt", "long parts"],
)
def test_a_sliding_store_gives_back_its_window_over_several_rounds(window, sizes):
    store = SlidingStore(window)
    feed(store, *states(), sizes)
    assert store.kept == window - 1


@pytest.mark.parametrize("make", [*STORES.values(), lambda: SlidingStore(8)])
def test_a_store_is_new_after_a_reset(make):
    store, (keys, values) = make(), states(20)
    feed(store, keys, values, [12] + [1] * 8)
    store.reset()
    assert store.kept == 0
    feed(store, -keys, -values, [3] + [1] * 17)


def test_a_fixed_store_says_when_it_is_full():
    store, (keys, values) = FixedStore(10), states(11)
    store.update(keys[:, :, :9], values[:, :, :9])
    with pytest.raises(ModelError, match="holds 10 positions, but 11 are needed"):
        store.update(keys[:, :, 9:], values[:, :, 9:])


def test_bytes_are_those_of_the_memory_that_is_held():
    keys, values = states(100, 4, 4)
    each = 2 * 3 * 4 * 4  # bytes of a position's keys
    growing, fixed, sliding = GrowingStore(), FixedStore(250), SlidingStore(9)
    for store in (growing, fixed, sliding):
        assert store.nbytes == 0
        store.update(keys[:, :, :60], values[:, :, :60])
        store.update(keys[:, :, 60:], values[:, :, 60:])
    assert growing.nbytes == 2 * 100 * each
    assert fixed.nbytes == 2 * 250 * each
    before = sliding.nbytes
    assert before == 2 * (8 + 256) * each
    for _ in range(400):
        sliding.update(keys[:, :, :1], values[:, :, :1])
    assert sliding.nbytes == before


def test_a_view_counts_as_all_that_it_keeps_in_memory():
    fused = torch.zeros(1, 2, 5, 30)
    store = GrowingStore()
    store.update(fused[..., :10], fused[..., 10:20])
    assert store.nbytes == fused.nbytes


@pytest.mark.parametrize("prompt", [5, 300])
@pytest.mark.parametrize(
    "cache", [DynamicCache, lambda config: StaticCache(660, config)], ids=["dynamic", "static"]
)
def test_windows_in_the_cache_equal_windows_in_the_mask(prompt, cache):
    """Many rounds of a sliding store, against keys that are all kept and hidden by masks."""
    config = config_from_recipe(
        {
            "model_type": "mistral",
            "vocab_size": 31,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "initializer_range": 0.2,
            "sliding_window": 6,
        }
    )
    model = initialize(build(config), seed=1).eval()
    ids = torch.randint(0, 31, (1, 640), generator=torch.Generator().manual_seed(0))
    sliding = cache(config)
    with torch.no_grad():
        sizes = [prompt] + [1] * (640 - prompt)
        parts = [model(part, cache=sliding).logits for part in ids.split(sizes, dim=1)]
        whole = model(ids).logits
    assert isinstance(sliding.stores[0], SlidingStore)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)


@pytest.mark.parametrize("make", [lambda: FixedStore(LENGTH), lambda: SlidingStore(5)])
def test_after_a_reset_a_batch_may_have_another_size(make):
    store = make()
    store.update(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4))
    store.reset()
    key, _ = store.update(torch.ones(3, 1, 2, 4), torch.ones(3, 1, 2, 4))
    assert key.shape == (3, 1, 2, 4)
