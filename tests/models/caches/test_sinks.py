"""The beginning and the last positions: what a query sees, and how far away it seems."""

from __future__ import annotations

import pytest
import torch

from tests.models.parity import assert_close
from tests.models.tiny import tiny_model
from tfcli.models.cache import Cache
from tfcli.models.caches.growing import GrowingStore
from tfcli.models.caches.sinks import SinkStore
from tfcli.models.context import begin
from tfcli.models.errors import ModelError

SINKS, WINDOW = 2, 5


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def words(length: int, rows: int = 2) -> torch.Tensor:
    return torch.randint(4, 50, (rows, length), generator=torch.Generator().manual_seed(0))


def ready(model, prompt: torch.Tensor) -> Cache:
    cache = model.make_cache("sink", window=WINDOW, sinks=SINKS)
    model(prompt, cache=cache)
    return cache


# Rotated whole, in part, with YaRN's factor in the keys, and with latent states before them.
ROTARY = {
    "llama": {},
    "stablelm": {},
    "gptj": {},
    "yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        }
    },
    "deepseek_v3": {},
}


@pytest.mark.parametrize("name", ROTARY)
def test_a_query_sees_the_sinks_and_its_window_as_if_nothing_lay_between(name):
    """In one layer, keys depend on their own token only: a text of those tokens has the same."""
    family = "llama" if name == "yarn" else name
    model = tiny_model(family, num_hidden_layers=1, **ROTARY[name]).eval()
    ids = words(40)
    cache = ready(model, ids[:, :3])
    for at in range(3, 40):
        found = model(ids[:, at : at + 1], cache=cache).logits
        last = max(SINKS, at + 1 - WINDOW)
        seen = torch.cat((ids[:, :SINKS], ids[:, last : at + 1]), 1)
        assert_close(found, model(seen).logits[:, -1:])
    assert cache.length == 40
    assert cache.kept(0) == SINKS + WINDOW - 1


def test_turning_the_sinks_on_equals_turning_the_window_back():
    """Over several layers: against keys kept without rotation, which are turned by their places in
    what is kept, as positions are in transformers' former SinkCache."""
    model = tiny_model("llama").eval()
    ids = words(30)
    cache = ready(model, ids[:, :4])
    raw: dict[int, list[torch.Tensor]] = {}

    def attention(module, x, context):
        query, key, value = module.heads(x)
        old = raw.get(module.layer)
        if old is not None:
            key, value = (torch.cat(pair, 2) for pair in zip(old, (key, value), strict=True))
            if key.shape[2] > SINKS + WINDOW:
                key, value = (
                    torch.cat((t[:, :, :SINKS], t[:, :, -WINDOW:]), 2) for t in (key, value)
                )
        raw[module.layer] = [key, value]
        places = torch.arange(key.shape[2])[None]
        cos, sin = module.rotary(places, x.dtype)
        count = query.shape[2]
        query = module.rotary.turn(query, (cos[:, :, -count:], sin[:, :, -count:]))
        key = module.rotary.turn(key, (cos, sin))
        return module.o_proj(module.attend(query, key, value, begin(x).causal(0)))

    naive = tiny_model("llama").eval()
    for block in naive.blocks:
        block.self_attn.forward = attention.__get__(block.self_attn)
    naive(ids[:, :4])
    for at in range(4, 30):
        one = ids[:, at : at + 1]
        assert_close(model(one, cache=cache).logits, naive(one).logits, relative=1e-4)


def test_until_the_window_is_full_nothing_differs():
    model = tiny_model("llama").eval()
    ids = words(12)
    cache = model.make_cache("sink", window=10, sinks=2)
    parts = [model(part, cache=cache).logits for part in ids.split([5, 3, 1, 1, 1, 1], 1)]
    assert_close(torch.cat(parts, 1), model(ids).logits)


def test_padding_is_no_key():
    model = tiny_model("llama", num_hidden_layers=1).eval()
    ids = words(20, rows=1)
    mask = (torch.arange(20) >= 1).long()[None]  # a sink of padding, which no query sees
    cache = model.make_cache("sink", window=WINDOW, sinks=SINKS)
    model(ids[:, :4], attention_mask=mask[:, :4], cache=cache)
    for at in range(4, 20):
        given = {"attention_mask": mask[:, : at + 1], "cache": cache}
        found = model(ids[:, at : at + 1], **given).logits
        seen = torch.cat((ids[:, 1:SINKS], ids[:, max(SINKS, at + 1 - WINDOW) : at + 1]), 1)
        assert_close(found, model(seen).logits[:, -1:])


def test_a_text_goes_on_in_the_same_memory():
    model = tiny_model("llama").eval()
    cache, sizes = ready(model, words(6)), set()
    for _ in range(700):
        model(words(1), cache=cache)
        sizes.add(cache.nbytes)
    assert len(sizes) == 1 and cache.length == 706


def test_operations(tmp_path):
    model = tiny_model("llama", num_hidden_layers=1).eval()
    ids = words(20)
    rows = torch.tensor([1, 1, 0])

    def expect(cache, one, ids):
        seen = torch.cat((ids[:, :SINKS], ids[:, 1 - WINDOW :], one), 1)
        assert_close(model(one, cache=cache).logits, model(seen).logits[:, -1:])

    def read() -> Cache:
        cache = ready(model, ids[:, :6])
        for at in range(6, 20):
            model(ids[:, at : at + 1], cache=cache)
        return cache

    cache = read()
    cache.save(tmp_path / "sinks.safetensors")
    copy, loaded = cache.copy(), model.make_cache("sink", window=WINDOW, sinks=SINKS)
    loaded.load(tmp_path / "sinks.safetensors")
    for each in (copy, loaded):
        expect(each, ids[:, 7:8], ids)
    cache.crop(17)
    expect(cache, ids[:, 3:4], ids[:, :17])
    cache = read()
    cache.select(rows)
    expect(cache, ids[rows, 7:8], ids[rows])
    cache.crop(0)
    assert_close(model(ids[rows, :4], cache=cache).logits, model(ids[rows, :4]).logits)
    whole = model.make_cache()
    model(ids, cache=whole)
    whole.save(tmp_path / "whole.safetensors")
    loaded.load(tmp_path / "whole.safetensors")
    expect(loaded, ids[:, 7:8], ids)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "t5"])
def test_other_positions_are_refused(family):
    with pytest.raises(ModelError, match="needs rotary positions that do not change"):
        tiny_model(family).make_cache("sink")


def test_a_sink_store_is_no_growing_one():
    model = tiny_model("llama")
    assert isinstance(model.make_cache("sink").store(0), SinkStore)
    assert isinstance(model.make_cache().store(0), GrowingStore)
    with pytest.raises(ModelError, match="window must be at least 1"):
        model.make_cache("sink", window=0)
    with pytest.raises(ModelError, match="a sink cache has no setting 'windows'"):
        model.make_cache("sink", windows=3)
