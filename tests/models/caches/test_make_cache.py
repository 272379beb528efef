"""Each layer says which store it wants, whatever stands beside it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.tiny import tiny_model
from tfcli.models.cache import make_cache
from tfcli.models.caches.fixed import FixedSlidingStore, FixedStore
from tfcli.models.caches.growing import GrowingStore, OffloadedStore
from tfcli.models.caches.layers import RecurrentLayer
from tfcli.models.caches.quantized import QuantizedStore
from tfcli.models.caches.recurrent import SourceStore, StateStore
from tfcli.models.caches.sinks import SinkStore
from tfcli.models.caches.sliding import SlidingStore
from tfcli.models.context import begin
from tfcli.models.errors import ModelError
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.rotary import Rotary
from tfcli.models.layers.state_space import CausalConv


class ShortConv(RecurrentLayer):
    """A convolution over the last three tokens, which remembers two."""

    slot = "conv"

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.conv = CausalConv(8, 3, bias=False)
        nn.init.normal_(self.conv.weight)

    def forward(self, x, context):
        out, before = self.conv(x, self.carried(context).get("before"))
        self.carry_on(context, before=before)
        return out


class Hybrid(nn.Module):
    """Attention beside a convolution, attention in a window, a convolution alone."""

    def __init__(self) -> None:
        super().__init__()
        rotary = Rotary({"rope_type": "default", "rope_theta": 1e4}, 4, 32)
        options = {"rotary": rotary, "backend": "sdpa"}
        self.parts = nn.ModuleList(
            [
                RotaryAttention(8, 2, 1, 4, layer=0, **options),
                ShortConv(0),
                RotaryAttention(8, 2, 1, 4, layer=1, window=3, **options),
                ShortConv(2),
            ]
        )

    def forward(self, x, context):
        for part in self.parts:
            x = x + part(x, context)
        return x


STORES = {
    "dynamic": [GrowingStore, StateStore, SlidingStore, StateStore],
    "static": [FixedStore, StateStore, FixedSlidingStore, StateStore],
    "quantized": [QuantizedStore, StateStore, SlidingStore, StateStore],
    "offloaded": [OffloadedStore, StateStore, SlidingStore, StateStore],
    "sink": [SinkStore, StateStore, SinkStore, StateStore],
}


@pytest.mark.parametrize("kind", STORES)
@torch.no_grad()
def test_layers_of_any_kind_share_a_cache(kind):
    torch.manual_seed(0)
    model, x = Hybrid(), torch.randn(2, 12, 8)
    cache = make_cache(model, kind, 12)
    assert list(cache.stores) == [
        (0, "attention"),
        (0, "conv"),
        (1, "attention"),
        (2, "conv"),
    ]
    assert [type(store) for store in cache.stores.values()] == STORES[kind]
    if kind == "sink":  # it shows the beginning to layers that would not see it
        return
    parts = []
    for part in x.split([5, 2, 1, 1, 1, 1, 1], 1):
        parts.append(model(part, begin(part, cache=cache)))
        cache.advance(part.shape[1])
    torch.testing.assert_close(torch.cat(parts, 1), model(x, begin(x)))


def test_two_layers_cannot_have_one_place():
    with pytest.raises(TypeError, match=r"two layers want to be \(0, 'conv'\)"):
        make_cache(nn.ModuleList([ShortConv(0), ShortConv(0)]))


def test_an_encoder_decoder_keeps_its_target_and_its_source():
    cache = tiny_model("t5").make_cache()
    kinds = [type(store) for store in cache.stores.values()]
    assert kinds == [GrowingStore, SourceStore] * (len(kinds) // 2) and len(kinds) > 2


def test_the_window_is_the_layers_own():
    model = tiny_model("gemma2")
    windows = [block.self_attn.window for block in model.blocks]
    stores = [model.make_cache().store(layer) for layer in range(len(windows))]
    assert [getattr(store, "window", None) for store in stores] == windows
    assert any(windows) and not all(windows)


def test_a_window_wider_than_the_text_needs_no_ring():
    model = tiny_model("mistral")  # windows of 6
    assert isinstance(model.make_cache("static", 6).store(0), FixedStore)
    assert not isinstance(model.make_cache("static", 6).store(0), FixedSlidingStore)
    assert isinstance(model.make_cache("static", 7).store(0), FixedSlidingStore)


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(ModelError, match="unknown kind of cache 'statik'") as error:
        tiny_model("llama").make_cache("statik")
    assert "static" in error.value.fix
    with pytest.raises(ModelError, match="needs a length of at least 1, not 0"):
        tiny_model("llama").make_cache("static", 0)


def test_a_reset_cache_is_as_new():
    model = tiny_model("mamba").eval()
    ids = torch.arange(5, 15)[None]
    for kind in ("dynamic", "static"):
        cache = model.make_cache(kind, 10)
        with torch.no_grad():
            model(ids.flip(1), cache=cache)
            cache.reset()
            assert cache.length == 0
            assert torch.equal(model(ids, cache=cache).logits, model(ids).logits)
