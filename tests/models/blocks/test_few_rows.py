"""Decoding by one call for all blocks: the numbers of the modules, and only where it knows them."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch

from tfcli.models.blocks import run as blocks_run
from tfcli.models.blocks.few_rows import run_few
from tfcli.models.config import config_from_recipe
from tfcli.models.joined_cache import JoinedCache
from tfcli.models.kernels.packed_rows import PackedRows
from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.layers.linear import Linear
from tfcli.models.loading import build, initialize

SIZES = {
    "vocab_size": 300,
    "hidden_size": 256,
    "intermediate_size": 320,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "initializer_range": 0.08,
}
GROUPED = {"num_attention_heads": 16, "num_key_value_heads": 8}


def model_of(model_type="llama", dtype=torch.float32, **changes):
    values = {"model_type": model_type, **SIZES, **changes}
    model = initialize(build(config_from_recipe(values), "causal-lm"), 0, dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # norms that are not 1, biases that are not 0
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
                parameter.add_(0.2 * noise.to(dtype))
            assert name
    return model


@pytest.fixture
def calls(monkeypatch):
    """How often the one call was made."""
    made = []

    def counted(*given):
        found = run_few(*given)
        made.append(found is not None)
        return found

    monkeypatch.setattr(blocks_run, "run_few", counted)
    return made


@torch.no_grad()
def decoded(model, rows=1, steps=4, kind=None, **inputs) -> torch.Tensor:
    """Logits of some tokens after a prompt of 9."""
    ids = torch.arange(rows * 9).view(rows, 9) % 300
    cache = model.make_cache(*kind or ())
    model(ids, cache=cache, **inputs)
    found = []
    for step in range(steps):
        if "attention_mask" in inputs:
            more = inputs["attention_mask"].new_ones(rows, 1)
            inputs["attention_mask"] = torch.cat((inputs["attention_mask"], more), 1)
        new = torch.arange(rows)[:, None] + 7 * step
        found.append(model(new, cache=cache, **inputs).logits.float())
    return torch.cat(found, 1)


def by_modules(monkeypatch, model, **given) -> torch.Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(blocks_run, "run_few", lambda *given: None)
        return decoded(model, **given)


CASES = {
    "llama": ("llama", {}),
    "grouped heads": ("llama", GROUPED),
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("qwen2", GROUPED),
    "qwen3, whose heads have norms": ("qwen3", GROUPED),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_the_modules(level, calls, monkeypatch, name, dtype):
    model_type, changes = CASES[name]
    model = model_of(model_type, dtype, **changes)
    for rows in (1, 3):
        found = decoded(model, rows)
        assert calls.count(True) == 4, "the prompt goes through the modules"
        calls.clear()
        expected = by_modules(monkeypatch, model, rows=rows)
        most = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
        assert (found - expected).norm() <= most * expected.norm()


def test_the_bits_of_a_row_do_not_depend_on_the_rows_beside_it(level, calls):
    model = model_of(dtype=torch.bfloat16, **GROUPED)
    together = decoded(model, rows=1)
    ids = torch.arange(9)[None].repeat(5, 1)
    with torch.no_grad():
        cache = model.make_cache()
        model(ids, cache=cache)
        first = model(torch.zeros(5, 1, dtype=torch.long), cache=cache).logits
    assert all(torch.equal(row, together[:, :1].to(row.dtype)[0]) for row in first)
    assert calls.count(True) == 5


def test_rows_that_are_filled_up_on_the_left_are_one_call(level, calls, monkeypatch):
    model = model_of(**GROUPED)
    mask = torch.tensor([[0] * 4 + [1] * 5, [1] * 9, [0] * 8 + [1]])
    found = decoded(model, rows=3, attention_mask=mask)
    assert calls.count(True) == 4
    expected = by_modules(monkeypatch, model, rows=3, attention_mask=mask)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_weights_are_multiplied_as_their_layer_does(level, calls, monkeypatch, bits):
    model = model_of(dtype=torch.bfloat16, **GROUPED)
    for block in model.body.layers:
        for owner in (block.self_attn, block.mlp):
            for name, linear in list(owner.named_children()):
                if isinstance(linear, Linear):
                    setattr(owner, name, packed(linear, bits))
    found = decoded(model, rows=2)
    assert calls.count(True) == 4
    expected = by_modules(monkeypatch, model, rows=2)
    assert (found - expected).norm() <= 2e-2 * expected.norm()


def packed(linear, bits) -> KernelLinear:
    m, n = linear.weight.shape
    top = (1 << bits) - 1
    groups = linear.weight.float().view(m, n // 32, 32)
    scales = (groups.abs().amax(-1) * 2 / top).half()
    levels = (groups / scales.float()[..., None] + (top + 1) // 2).round().clamp(0, top)
    levels = levels.view(m, n).to(torch.uint8)
    return KernelLinear(PackedRows.of(levels, scales, None, bits=bits, group_size=32), None)


def test_what_changes_after_the_first_token_counts(level, calls, monkeypatch):
    """A module that is replaced, a weight that moves or is another one, a hook."""
    model = model_of()
    before = decoded(model)

    mlp = model.body.layers[0].mlp
    mlp.up_proj = Linear(256, 320, bias=False)
    replaced = decoded(model)
    assert not torch.equal(replaced, before)
    torch.testing.assert_close(replaced, by_modules(monkeypatch, model), rtol=1e-4, atol=1e-5)

    weight = model.body.layers[1].self_attn.v_proj.weight
    weight.data = weight.data * 2
    torch.testing.assert_close(decoded(model), by_modules(monkeypatch, model), rtol=1e-4, atol=1e-5)

    moved = decoded(model)
    attention = model.body.layers[1].self_attn
    attention.o_proj.weight = torch.nn.Parameter(attention.o_proj.weight * 2, requires_grad=False)
    assert not torch.equal(decoded(model), moved)
    torch.testing.assert_close(decoded(model), by_modules(monkeypatch, model), rtol=1e-4, atol=1e-5)

    calls.clear()
    seen = []
    hook = mlp.register_forward_hook(lambda *given: seen.append(1))
    decoded(model)
    assert not any(calls) and len(seen) == 5
    hook.remove()
    decoded(model)
    assert any(calls)


def test_other_kinds_of_passes_go_through_the_modules(level, calls):
    model = model_of()
    padded = torch.tensor([[1] * 7 + [0] * 2, [1] * 9])
    decoded(model, rows=2, attention_mask=padded)
    decoded(model, rows=2, attention_mask=padded.flip(1), kind=("paged",))
    decoded(model, kind=("static", 32))
    decoded(model, rows=9)
    decoded(model.train())
    decoded(model.eval(), output_attentions=True)
    decoded(model, output_hidden_states=True)
    ids = torch.zeros(1, 1, dtype=torch.long)
    model(ids, cache=model.make_cache())  # with a gradient
    assert not any(calls)
    decoded(model)
    assert calls.count(True) == 4


@pytest.mark.parametrize("model_type", ["gemma2", "cohere", "olmo2", "gpt_oss", "mistral"])
def test_other_blocks_are_run_module_by_module(level, calls, model_type):
    changes = {} if model_type != "gpt_oss" else {"num_local_experts": 2, "num_experts_per_tok": 1}
    decoded(model_of(model_type, **changes))
    assert not any(calls)


def test_what_is_known_of_blocks_goes_with_them(level, calls, monkeypatch):
    """A model that was decoded with is freed, copied and saved as any other."""
    model = model_of()
    before = decoded(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.body.layers[0].mlp.up_proj.weight.mul_(2)
    assert not torch.equal(decoded(other), before)
    torch.testing.assert_close(decoded(other), by_modules(monkeypatch, other))
    assert torch.equal(decoded(model), before)
    assert torch.equal(decoded(pickle.loads(pickle.dumps(model))), before)
    weight = weakref.ref(model.body.layers[0].mlp.up_proj.weight)
    del model
    gc.collect()
    assert weight() is None


def test_joined_texts_of_any_lengths_are_one_call_with_the_bits_that_they_have_alone(level, calls):
    model = model_of(dtype=torch.bfloat16, **GROUPED)
    texts = [torch.arange(length)[None] for length in (3, 70, 64, 1)]
    new = torch.tensor([[7], [8], [9], [10]])
    alone, caches = [], []
    with torch.no_grad():
        for text, token in zip(texts, new, strict=True):
            kept = model.make_cache()
            model(text, cache=kept)
            alone.append(model(token[None], cache=kept).logits)
            caches.append(model.make_cache("paged"))
            model(text, cache=caches[-1])
        calls.clear()
        joined = JoinedCache(caches)
        found = model(new, attention_mask=joined.attention_mask(), cache=joined).logits
    assert calls == [True]
    assert torch.equal(found, torch.cat(alone))
