"""Kept elsewhere and brought back; that the numbers are the same is tested for every family."""

from __future__ import annotations

import pytest
import torch

from tests.models.caches.feeding import give
from tests.models.caches.test_quantized import tiny
from tfcli.models.caches.growing import OffloadedStore
from tfcli.models.caches.sliding import SlidingStore
from tfcli.models.errors import ModelError


def test_what_is_brought_back_is_a_copy():
    store, x = OffloadedStore(), torch.randn(1, 2, 5, 4)
    first = x.clone()
    give(store, first, first)
    first.zero_()  # the computing device is free to use its memory again
    keys, values = give(store, x[:, :, :1], x[:, :, :1])
    keys.zero_()
    values.zero_()
    again, _ = give(store, x[:, :, :1], x[:, :, :1])
    assert torch.equal(again[:, :, :5], x)
    assert torch.equal(again[:, :, 5:], x[:, :, :1].expand(-1, -1, 2, -1))


def test_room_grows_in_steps_and_not_with_every_position():
    store, x = OffloadedStore(), torch.randn(1, 2, 1, 4)
    rooms = set()
    for _ in range(2000):
        give(store, x, x)
        rooms.add(store.nbytes)
    assert store.kept == 2000
    assert len(rooms) <= 4
    assert store.nbytes <= 2 * 2 * 2000 * x.nbytes + 2 * 256 * x.nbytes


def test_keys_and_values_may_be_of_different_widths():
    store = OffloadedStore()
    key, value = torch.randn(1, 2, 3, 6), torch.randn(1, 2, 3, 4)
    give(store, key, value)
    keys, values = give(store, key, value)
    assert torch.equal(keys, torch.cat((key, key), dim=2))
    assert torch.equal(values, torch.cat((value, value), dim=2))


def test_gradients_are_refused():
    key = torch.zeros(1, 1, 1, 4, requires_grad=True)
    with pytest.raises(ModelError, match="an offloaded cache keeps no gradients"):
        OffloadedStore().update(key, key)
    with torch.no_grad():
        OffloadedStore().update(key, key)


def test_a_cache_is_used_again_after_a_reset():
    model = tiny()
    cache = model.make_cache("offloaded")
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        model(ids.flip(1), cache=cache)
        cache.reset()
        assert cache.length == cache.nbytes == 0
        parts = [model(part, cache=cache).logits for part in ids.split([20] + [1] * 7, dim=1)]
        dynamic = model.make_cache()
        expected = [model(part, cache=dynamic).logits for part in ids.split([20] + [1] * 7, dim=1)]
    assert torch.equal(torch.cat(parts, 1), torch.cat(expected, 1))


def test_layers_with_a_window_stay_where_they_are_computed():
    model = tiny(model_type="mistral", sliding_window=6)
    cache = model.make_cache("offloaded")
    with torch.no_grad():
        model(torch.arange(20)[None], cache=cache)
    assert all(isinstance(store, SlidingStore) for store in cache.stores.values())
