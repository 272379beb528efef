"""What a layer's store gives back, whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.models.caches.feeding import give
from tfcli.models.caches.fixed import FixedSlidingStore
from tfcli.models.caches.growing import GrowingStore, OffloadedStore
from tfcli.models.caches.sliding import SlidingStore
from tfcli.models.caches.stores import Store
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize

LENGTH = 700  # longer than the room that a sliding store has behind its window, twice over
STORES: dict[str, Callable[[], Store]] = {"growing": GrowingStore, "offloaded": OffloadedStore}
every_store = pytest.mark.parametrize("make", STORES.values(), ids=STORES)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


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
        given = give(store, keys[:, :, part], values[:, :, part])
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


def test_room_doubles():
    store, (keys, values), rooms = GrowingStore(), states(1), []
    for _ in range(5000):
        give(store, keys, values)
        rooms.append(store.tensors()[0].shape[2])
    assert sorted(set(rooms)) == [257, 514, 1028, 2056, 4112, 8224]
    assert store.nbytes == 8224 * (keys.nbytes + values.nbytes)


def test_a_step_copies_nothing_old():
    store, (keys, values) = GrowingStore(), states(9)
    give(store, keys, values)
    one = keys[:, :, :1], values[:, :, :1]
    places = {x.data_ptr() for _ in range(100) for x in give(store, *one)}
    assert places == {room.data_ptr() for room in store.tensors()}


def test_a_sliding_store_takes_the_same_memory_for_any_text():
    store, (keys, values) = SlidingStore(9), states(100, 4, 4)
    give(store, keys, values)
    before = store.nbytes
    assert before == 2 * (8 + 256) * keys[:, :, :1].nbytes
    for _ in range(400):
        give(store, keys[:, :, :1], values[:, :, :1])
    assert store.nbytes == before


@pytest.mark.parametrize("make", [GrowingStore, lambda: SlidingStore(4)])
@torch.enable_grad()
def test_gradients_reach_what_was_stored(make):
    """Nothing that a backward pass needs is written to, also where only queries have a gradient."""
    store, (keys, values) = make(), states(6)
    keys.requires_grad_()
    query = torch.randn(2, 3, 1, 4, requires_grad=True)
    scores = []
    for at in range(6):
        key, value = give(store, keys[:, :, at : at + 1], values[:, :, at : at + 1])
        scores.append((query @ key.transpose(2, 3) @ value).sum())
    torch.stack(scores).sum().backward()
    assert bool((keys.grad != 0).any()) and bool((query.grad != 0).any())


@pytest.mark.parametrize("make", [GrowingStore, OffloadedStore, lambda: SlidingStore(4)])
def test_what_was_stored_in_inference_mode_goes_on_outside(make):
    store, (keys, values) = make(), states(9)
    with torch.inference_mode():
        give(store, keys[:, :, :5].clone(), values[:, :, :5].clone())
    found, _ = give(store, keys[:, :, 5:], values[:, :, 5:])
    assert torch.equal(found, keys[:, :, 9 - found.shape[2] :])


@pytest.mark.parametrize("make", [GrowingStore, OffloadedStore, lambda: SlidingStore(4)])
def test_positions_of_another_batch_are_refused(make):
    store, (keys, values) = make(), states(3)
    give(store, keys, values)
    with pytest.raises(ModelError, match=r"holds 2 rows, .* but 1 rows"):
        store.update(keys[:1], values[:1])


@pytest.mark.parametrize("prompt", [5, 300])
@pytest.mark.parametrize(
    ("kind", "store"), [("dynamic", SlidingStore), ("static", FixedSlidingStore)]
)
def test_windows_in_the_cache_equal_windows_in_the_mask(prompt, kind, store):
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
    sliding = model.make_cache(kind, 660)
    with torch.no_grad():
        sizes = [prompt] + [1] * (640 - prompt)
        parts = [model(part, cache=sliding).logits for part in ids.split(sizes, dim=1)]
        whole = model(ids).logits
    assert isinstance(sliding.store(0), store)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)


@pytest.mark.parametrize("make", [GrowingStore, lambda: SlidingStore(5)])
def test_after_a_reset_a_batch_may_have_another_size(make):
    store = make()
    give(store, torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4))
    store.reset()
    key, _ = give(store, torch.ones(3, 1, 2, 4), torch.ones(3, 1, 2, 4))
    assert key.shape == (3, 1, 2, 4)
