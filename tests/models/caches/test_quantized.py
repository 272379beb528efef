from __future__ import annotations

import pytest
import torch

from tests.models.caches.feeding import give
from tfcli.models.cache import make_cache
from tfcli.models.caches.hadamard import Hadamard
from tfcli.models.caches.quantized import QuantizedStore, group_of, pack, unpack
from tfcli.models.caches.sliding import SlidingStore
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize
from tfcli.models.model import Model

every_width = pytest.mark.parametrize("bits", [8, 4])


def states(length: int, width: int = 16, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Keys or values, some of whose dimensions are much larger than others, as real ones are."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, length, width) * torch.logspace(-2, 2, width)
    return x.to(dtype)


def unpacked(x: torch.Tensor, bits: int, group_size: int) -> torch.Tensor:
    """What is left of x after both ways."""
    return unpack(pack(x, bits, group_size), bits).to(x.dtype)


def kept(x: torch.Tensor, bits: int, group_size: int) -> torch.Tensor:
    """What a store gives back of old positions."""
    turn = Hadamard()
    return turn(unpacked(turn(x), bits, group_size)).to(x.dtype)


@every_width
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("group_size", [4, 16, 99])
def test_no_value_moves_by_more_than_half_a_step(bits, dtype, group_size):
    x = states(50, dtype=dtype)
    groups = x.float().unflatten(-1, (-1, min(group_size, 16)))
    step = (groups.amax(-1) - groups.amin(-1)) / (2**bits - 1)
    error = (unpacked(x, bits, group_size).float() - x.float()).unflatten(-1, groups.shape[-2:])
    rounding = torch.finfo(dtype).eps * groups.abs().amax(-1)  # of the dtype that comes back
    assert (error.abs().amax(-1) <= step / 2 * 1.001 + rounding).all()


@every_width
def test_values_on_the_grid_come_back_exactly(bits):
    levels = torch.arange(2**bits).repeat(3, 1)
    x = torch.stack([row[torch.randperm(2**bits)] for row in levels]).float() * 0.25 - 1.5
    assert torch.equal(unpacked(x[None, None], bits, 2**bits), x[None, None])


@every_width
def test_a_group_of_equal_values_comes_back_exactly(bits):
    x = torch.full((1, 2, 3, 8), -0.7)
    assert torch.equal(unpacked(x, bits, 8), x)


def test_four_bits_are_packed_two_a_byte():
    x = torch.arange(16.0)[None, None, None]
    packed = pack(x, 4, 16)
    assert packed.codes.dtype == torch.uint8
    assert packed.codes.tolist()[0][0][0] == [low | (low + 1) << 4 for low in range(0, 16, 2)]
    with pytest.raises(ModelError, match="15 dimensions"):
        pack(x[..., :15], 4, 16)


def test_groups_divide_a_head():
    assert [group_of(width, 64) for width in (128, 64, 96, 80, 24, 7)] == [64, 64, 48, 40, 24, 7]


@every_width
def test_the_newest_positions_are_exact_and_older_ones_near(bits):
    keys, values = states(20), states(20, 8)
    store = QuantizedStore(bits, group_size=8, residual=4)
    for at in range(19):
        give(store, keys[:, :, at : at + 1], values[:, :, at : at + 1])
    assert store.kept == 19
    found = give(store, keys[:, :, 19:], values[:, :, 19:])
    assert store.kept == 20
    for got, given in zip(found, (keys, values), strict=True):
        assert torch.equal(got[:, :, 12:], given[:, :, 12:])  # 19 = 3 * 4 packed, 7 recent; 1 new
        assert not torch.equal(got[:, :, :12], given[:, :, :12])
        assert torch.equal(got[:, :, :12], kept(given[:, :, :12], bits, 8))


@every_width
def test_hundreds_of_single_steps_leave_what_one_long_prompt_leaves(bits):
    keys, values = states(401), states(401, 8)
    slow, fast = (QuantizedStore(bits, group_size=8, residual=16) for _ in range(2))
    for at in range(400):
        give(slow, keys[:, :, at : at + 1], values[:, :, at : at + 1])
    given = give(fast, keys[:, :, :400], values[:, :, :400])
    assert torch.equal(given[0], keys[:, :, :400])  # a prompt sees itself exactly
    assert slow.kept == fast.kept == 400
    last = keys[:, :, 400:], values[:, :, 400:]
    for one, other in zip(give(slow, *last), give(fast, *last), strict=True):
        assert one.shape[2] == 401
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("bits", "dtype", "most"),
    [
        (8, torch.float32, 0.30),
        (4, torch.float32, 0.18),
        (8, torch.bfloat16, 0.58),
        (4, torch.bfloat16, 0.33),
    ],
)
def test_the_memory_that_is_held_is_smaller(bits, dtype, most):
    keys = states(2000, 64, dtype)
    fused = torch.cat((keys, keys), dim=-1)  # views of one tensor, as some families give them
    store, end = QuantizedStore(bits, residual=16), 0
    for part in fused.split([1900] + [1] * 100, dim=2):
        give(store, part[..., :64], part[..., 64:])
        end += part.shape[2]
        assert store.nbytes <= most * fused[:, :, :end].nbytes


def test_a_short_prompt_is_held_by_itself_and_not_with_what_it_is_a_view_of():
    fused, store = states(20, 64), QuantizedStore()
    give(store, fused[..., :8], fused[..., 8:16])
    assert store.nbytes == fused[..., :16].nbytes


@every_width
def test_a_store_is_new_after_a_reset(bits):
    store, x = QuantizedStore(bits, 8, 2), states(9)
    give(store, x, x)
    store.reset()
    assert store.kept == store.nbytes == 0
    assert torch.equal(give(store, x[:1], x[:1])[0], x[:1])


def test_what_cannot_be_is_refused_before_anything_is_stored():
    with pytest.raises(ModelError, match="a cache of 2 bits is not built"):
        make_cache(tiny(), "quantized", bits=2)
    with pytest.raises(ModelError, match="group_size must be at least 1"):
        make_cache(tiny(), "quantized", group_size=0)
    with pytest.raises(ModelError, match="residual must be at least 1"):
        make_cache(tiny(), "quantized", residual=0)
    key = torch.zeros(1, 1, 1, 4, requires_grad=True)
    with pytest.raises(ModelError, match="a quantized cache keeps no gradients"):
        QuantizedStore().update(key, key)


def tiny(**changes: object) -> Model:
    """A llama of two layers whose scores are not all alike."""
    config = {
        "model_type": "llama",
        "vocab_size": 61,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.2,
    }
    return initialize(build(config_from_recipe(config | changes)), seed=1).eval()


@pytest.mark.parametrize(("bits", "most"), [(8, 0.02), (4, 0.15)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_stay_near(bits, most, dtype):
    model = tiny().to(dtype)
    ids = torch.randint(0, 61, (2, 120), generator=torch.Generator().manual_seed(0))
    outputs = []
    for cache in (
        model.make_cache(),
        model.make_cache("quantized", bits=bits, group_size=8, residual=4),
    ):
        with torch.no_grad():
            parts = [model(part, cache=cache).logits for part in ids.split([30] + [1] * 90, 1)]
        outputs.append(torch.cat(parts, 1).float())
        assert cache.length == 120
    exact, near = outputs
    assert torch.equal(near[:, :30], exact[:, :30])
    error = (near - exact).norm() / exact.norm()
    assert 0 < error < most


def divergence(model: Model, ids: torch.Tensor, **settings: object) -> float:
    """How far a quantized cache moves a model's predictions: the mean KL to those of an exact one,
    after what both see exactly."""
    logs = []
    for cache in (model.make_cache(), model.make_cache("quantized", residual=4, **settings)):
        with torch.no_grad():
            parts = [model(part, cache=cache).logits for part in ids.split(4, 1)]
        logs.append(torch.cat(parts, 1)[:, 8:].double().log_softmax(-1))
    exact, near = logs
    return torch.nn.functional.kl_div(near, exact, log_target=True, reduction="sum").item()


def with_outliers(width: int) -> Model:
    """A model with a channel of its keys 20 times as large as the others, at every position.

    Its queries are that much smaller there, so that the scores are those of any model: rotary
    turns a channel with the one half a head further, which gets the same factor.
    """
    model = tiny(head_dim=width, num_key_value_heads=1, num_attention_heads=2)
    with torch.no_grad():
        for name, linear in model.named_modules():
            for channel in (3, width // 2 + 3):
                if name.endswith("k_proj"):
                    linear.get_parameter("weight")[channel::width] *= 20
                if name.endswith("q_proj"):
                    linear.get_parameter("weight")[channel::width] /= 20
    return model


@pytest.mark.parametrize(("bits", "most"), [(4, 0.5), (8, 0.7)])
@pytest.mark.parametrize("width", [24, 64, 80, 96, 128])
def test_rotation_halves_what_outliers_in_keys_cost(bits, most, width):
    model = with_outliers(width)
    ids = torch.randint(0, 61, (4, 80), generator=torch.Generator().manual_seed(0))
    plain = divergence(model, ids, bits=bits, rotated=False)
    rotated = divergence(model, ids, bits=bits)
    assert 0 < rotated <= most * plain


@every_width
def test_rotation_costs_nothing_where_there_are_no_outliers(bits):
    model = tiny(head_dim=64)
    ids = torch.randint(0, 61, (4, 80), generator=torch.Generator().manual_seed(0))
    plain = divergence(model, ids, bits=bits, rotated=False)
    assert divergence(model, ids, bits=bits) <= 1.2 * plain


def test_padding_on_the_left_stays_out_of_sight():
    model = tiny()
    ids = torch.randint(0, 61, (1, 40), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(40) >= 9).long()[None]
    alone, beside = (model.make_cache("quantized", residual=4) for _ in range(2))
    with torch.no_grad():
        model(ids[:, 9:39], cache=alone)
        model(ids[:, :39], attention_mask=mask[:, :39], cache=beside)
        expected = model(ids[:, 39:], cache=alone).logits
        actual = model(ids[:, 39:], attention_mask=mask, cache=beside).logits
    # Which positions are packed differs by the padding, so they are near and not equal.
    assert (actual - expected).norm() < 0.02 * expected.norm()


def test_layers_with_a_window_are_kept_exactly():
    model = tiny(
        model_type="gemma2",
        head_dim=8,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention"],
    )
    cache = model.make_cache("quantized", bits=4, residual=4)
    with torch.no_grad():
        model(torch.arange(20)[None], cache=cache)
    assert isinstance(cache.store(0), SlidingStore)
    assert isinstance(cache.store(1), QuantizedStore)
    assert cache.nbytes == cache.store(0).nbytes + cache.store(1).nbytes > 0
