"""The kinds of cache: what they are, and that they change no text."""

from __future__ import annotations

import pytest
import torch

from tests.generation.making import continued
from tests.models.tiny import tiny_model
from tfcli.errors import UsageError, WorkError
from tfcli.generation import caches
from tfcli.generation.caches import CACHES, make_cache
from tfcli.models.caches.fixed import FixedSlidingStore, FixedStore
from tfcli.models.caches.growing import GrowingStore, OffloadedStore
from tfcli.models.caches.paged import PagedStore
from tfcli.models.caches.quantized import QuantizedStore
from tfcli.models.caches.sliding import SlidingStore

PROMPT = [4, 12, 33, 50, 5]


@pytest.fixture(scope="module")
def mistral():
    """It has windows of 6."""
    return tiny_model("mistral", max_position_embeddings=600)


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama", max_position_embeddings=600)


def test_each_name_is_a_cache_of_its_own():
    model = tiny_model("llama")
    kinds = [type(make_cache(kind, 10, model).store(0)) for kind in CACHES]
    assert kinds == [
        GrowingStore,
        FixedStore,
        QuantizedStore,
        QuantizedStore,
        OffloadedStore,
        PagedStore,
    ]
    assert [make_cache(f"quantized{bits}", 10, model).store(0).settings[0] for bits in (8, 4)] == [
        8,
        4,
    ]


@pytest.mark.parametrize("kind", CACHES)
def test_windows_are_kept_no_longer_than_they_are(mistral, kind):
    cache = make_cache(kind, 40, mistral)
    found = continued(mistral, PROMPT, max_new_tokens=36, cache=cache)
    assert found == continued(mistral, PROMPT, max_new_tokens=36)
    kept = FixedSlidingStore if kind == "static" else SlidingStore
    assert all(isinstance(store, kept) for store in cache.stores.values())


@pytest.mark.parametrize("kind", ["static", "offloaded"])
def test_exact_caches_change_nothing(llama, kind):
    cache = make_cache(kind, 310, llama)
    found = continued(llama, PROMPT, max_new_tokens=300, cache=cache)
    assert found == continued(llama, PROMPT, max_new_tokens=300)


def test_compiled_steps_change_nothing(mistral):
    torch._dynamo.reset()
    cache = make_cache("static", 40, mistral)
    found = continued(mistral, PROMPT, max_new_tokens=30, cache=cache, compile_with="eager")
    assert found == continued(mistral, PROMPT, max_new_tokens=30)


def test_fewer_bits_take_less_memory(llama):
    def held(kind):
        cache = make_cache(kind, 0, llama)
        continued(llama, PROMPT, max_new_tokens=500, cache=cache)
        return cache.nbytes

    assert held("quantized4") < held("quantized8") < held("dynamic")


def test_a_static_cache_beyond_all_memory_is_refused(llama, monkeypatch):
    with pytest.raises(WorkError, match=r"positions takes about .* TB") as error:
        make_cache("static", 2**40, llama)
    assert "--cache dynamic" in error.value.fix
    make_cache("dynamic", 2**40, llama)
    # 2 layers, 2 heads of 8, keys and values, 4 bytes: 256 bytes a position
    monkeypatch.setattr(caches, "memory_of", lambda device: 100 * 256)
    make_cache("static", 100, llama)
    with pytest.raises(WorkError):
        make_cache("static", 101, llama)


def test_a_recurrent_model_needs_no_room():
    make_cache("static", 2**40, tiny_model("mamba"))


def test_of_a_hybrid_only_layers_that_attend_need_room(monkeypatch):
    model = tiny_model("lfm2")  # one layer of two: 2 heads of 8, keys and values, 4 bytes
    monkeypatch.setattr(caches, "memory_of", lambda device: 100 * 128)
    make_cache("static", 100, model)
    with pytest.raises(WorkError):
        make_cache("static", 101, model)


def test_four_bits_hold_no_odd_heads():
    model = tiny_model("t5", d_kv=5)
    make_cache("quantized8", 10, model)
    with pytest.raises(UsageError, match="5 dimensions"):
        make_cache("quantized4", 10, model)
