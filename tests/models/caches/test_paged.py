"""Pages: copies share them, and what goes on within one takes a copy of that page alone."""

from __future__ import annotations

import pytest
import torch

from tests.models.caches.feeding import give
from tests.models.tiny import tiny_model
from tfcli.models.caches.paged import PAGE, PagedStore
from tfcli.models.caches.stores import held
from tfcli.models.errors import ModelError
from tfcli.models.joined_cache import JoinedCache

MIXED = ["llama", "mistral", "gemma3_text", "mamba", "jamba", "gpt2"]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def states(length, rows=1):
    torch.manual_seed(length)
    return torch.randn(rows, 3, length, 4), torch.randn(rows, 3, length, 6)


def whole(store):
    return [lane.clone() for lane in store.content().values()]


@pytest.mark.parametrize("sizes", [[PAGE], [PAGE + 1, PAGE - 1, 1, 2], [5, 3 * PAGE, 1, 1]])
def test_a_store_gives_back_what_it_was_given(sizes):
    store, (keys, values) = PagedStore(), states(sum(sizes), rows=2)
    end = 0
    for size in sizes:
        part = slice(end, end + size)
        found = give(store, keys[:, :, part], values[:, :, part])
        end += size
        assert torch.equal(found[0], keys[:, :, :end])
        assert torch.equal(found[1], values[:, :, :end])


@pytest.mark.parametrize("length", [1, PAGE, PAGE + 7])
def test_copies_go_their_own_ways(length):
    store = PagedStore()
    give(store, *states(length))
    other, third = store.copy(), store.copy()
    before = whole(store)
    give(store, *states(3))
    give(other, *states(5))
    assert all(map(torch.equal, whole(third), before))
    give(third, *states(2))
    for changed, more in ((store, 3), (other, 5), (third, 2)):
        for lane, old, new in zip(whole(changed), before, states(more), strict=True):
            assert torch.equal(lane, torch.cat((old, new), 2))


def test_copies_share_whole_pages():
    store = PagedStore()
    give(store, *states(4 * PAGE))
    alone = held(store.tensors())
    other = store.copy()
    give(other, *states(1))
    assert held([*store.tensors(), *other.tensors()]) == alone * 5 // 4


def test_what_is_cropped_is_written_anew_and_not_in_a_copy():
    store = PagedStore()
    give(store, *states(2 * PAGE + 10))
    other, before = store.copy(), whole(store)
    store.crop(PAGE + 5, 2 * PAGE + 10)
    give(store, *states(4))
    assert all(map(torch.equal, whole(other), before))
    assert torch.equal(whole(store)[0][:, :, : PAGE + 5], before[0][:, :, : PAGE + 5])
    assert torch.equal(whole(store)[0][:, :, PAGE + 5 :], states(4)[0])


@pytest.mark.parametrize("model_type", MIXED)
def test_joined_texts_are_read_as_alone(model_type):
    model = tiny_model(model_type)
    texts = [[3, 4, 5], [6], [*range(7, 20)]]
    alone = []
    for text in texts:
        cache = model.make_cache()
        model(torch.tensor([text]), cache=cache)
        alone.append([model(torch.tensor([[new]]), cache=cache).logits for new in (1, 2)])
    caches = [model.make_cache("paged") for _ in texts]
    for text, cache in zip(texts, caches, strict=True):
        model(torch.tensor([text]), cache=cache)
    for step, new in enumerate((1, 2)):
        joined = JoinedCache(caches)
        found = model(
            torch.full((3, 1), new), attention_mask=joined.attention_mask(), cache=joined
        ).logits
        for row, expected in zip(found, alone, strict=True):
            assert torch.allclose(row, expected[step][0], atol=2e-4)
    assert [cache.length for cache in caches] == [len(text) + 2 for text in texts]


def test_an_empty_cache_is_not_joined():
    model = tiny_model("llama")
    with pytest.raises(ModelError, match="hold a text"):
        JoinedCache([model.make_cache("paged")])
