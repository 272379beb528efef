from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.attention.bias import causal_lower_right

from tfcli.models.errors import ModelError
from tfcli.models.layers import backends
from tfcli.models.layers.backends import Scores, available_backends, get_backend
from tfcli.models.layers.masks import AttentionMask, Sight

CPU = torch.device("cpu")


def qkv(**options):
    torch.manual_seed(0)
    shapes = ((2, 4, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8))
    return [torch.randn(shape, **options) for shape in shapes]


def test_eager_is_the_formula():
    query, key, value = (x[:, :1].double() for x in qkv())
    out = backends.eager(query, key, value, AttentionMask(causal=True), Scores(0.5))
    for at in range(5):
        weights = (query[0, 0, at] @ key[0, 0, : at + 1].T * 0.5).softmax(-1)
        assert torch.allclose(out[0, 0, at], weights @ value[0, 0, : at + 1], atol=1e-6)


def test_fused_backends_say_what_they_cannot_do():
    query, key, value = qkv(requires_grad=True)
    with pytest.raises(ModelError, match="flex attention has no backward pass on a CPU"):
        get_backend("flex")(query, key, value, AttentionMask(), Scores(1.0))
    for name in ("flex", "flash"):
        with pytest.raises(ModelError, match=f"{name} attention has no dropout"):
            get_backend(name)(query, key, value, AttentionMask(), Scores(1.0, dropout=0.1))


def test_a_backend_that_this_torch_lacks_is_refused(monkeypatch):
    assert available_backends() == ("sdpa", "eager", "flex", "flash")
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    available_backends.cache_clear()  # it is found once
    try:
        with pytest.raises(ModelError, match="no flex attention"):
            get_backend("flex")
    finally:
        available_backends.cache_clear()


MASKS = {
    "causal": lambda: Sight(5, 0, CPU).causal(),
    "window": lambda: Sight(5, 0, CPU).causal(window=2),
    "padding": lambda: Sight(5, 0, CPU, torch.tensor([[0, 0, 1, 1, 1], [1] * 5])).causal(),
    "segments": lambda: Sight(5, 0, CPU, segments=torch.tensor([[0, 0, 1, 1, 1]] * 2)).causal(),
    "groups": lambda: Sight(5, 0, CPU, groups=torch.tensor([[-1, 0, 0, 1, 1]] * 2)).causal(),
    "full": lambda: Sight(5, 0, CPU, torch.tensor([[0, 0, 1, 1, 1], [1] * 5])).full(),
    "matrix": lambda: AttentionMask(torch.ones(1, 1, 5, 5, dtype=torch.bool).tril()),
    "bias": lambda: Sight(5, 0, CPU).causal().with_bias(torch.randn(1, 4, 5, 5)),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("backend", ["sdpa", "flex", "flash"])
def test_backends_agree_on_every_mask(backend, name):
    torch.manual_seed(1)
    mask = MASKS[name]()
    with torch.no_grad():
        expected = backends.eager(*qkv(), mask, Scores(0.3))
        out = get_backend(backend)(*qkv(), mask, Scores(0.3))
    real = slice(2, None) if name in ("padding", "full") else slice(None)
    torch.testing.assert_close(out[:, :, real], expected[:, :, real])


@pytest.mark.parametrize("backend", ["sdpa", "eager", "flex"])
def test_a_second_part_of_a_prompt_sees_the_first(backend):
    query, key, value = qkv()
    with torch.no_grad():
        whole = backends.eager(query, key, value, Sight(5, 0, CPU).causal(), Scores(0.3))
        part = query[:, :, 3:], key, value, Sight(2, 3, CPU).causal(3), Scores(0.3)
        torch.testing.assert_close(get_backend(backend)(*part), whole[:, :, 3:])


def test_causal_queries_that_come_last_are_torchs_lower_right_form():
    """What CUDA is given in place of a matrix."""
    ours = Sight(2, 3, CPU).causal(3).visible(2, 5, CPU)
    assert torch.equal(ours[0, 0], causal_lower_right(2, 5)._materialize())


def heads(count, length, width=64, dtype=torch.bfloat16, device="meta"):
    return torch.empty(2, count, length, width, dtype=dtype, device=device)


@pytest.mark.parametrize(
    ("form", "query", "key", "masked"),
    [
        ("single", heads(4, 5), heads(4, 5), True),
        ("shared", heads(4, 5), heads(2, 5), False),  # flash
        ("shared", heads(4, 1), heads(2, 5), False),
        ("repeated", heads(4, 5), heads(2, 5), True),
        ("folded", heads(4, 1), heads(2, 5), True),
        ("repeated", heads(4, 5, 288), heads(2, 5, 288), False),  # too wide for flash
        ("repeated", heads(4, 5, dtype=torch.float32), heads(2, 5, dtype=torch.float32), False),
        ("folded", heads(4, 1, dtype=torch.float32), heads(2, 5, dtype=torch.float32), False),
        ("shared", heads(4, 5, device="cpu"), heads(2, 5, device="cpu"), True),
        ("shared", heads(4, 1, device="cpu"), heads(2, 5, device="cpu"), True),
    ],
)
def test_the_form_of_grouped_queries(form, query, key, masked):
    assert backends.grouping(query, key, masked) == form


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("queries", [5, 1])
def test_grouped_queries_with_a_mask_never_go_to_the_formula(monkeypatch, name, queries):
    """Off a CPU torch takes the formula for `enable_gqa` beside a mask. On shapes alone."""
    calls = []
    real = torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, **options):
        calls.append((query.shape, key.shape, options))
        return real(query, key, value, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    mask = AttentionMask(MASKS[name]().visible(5, 5, CPU)[..., :queries, :].to("meta"))
    if name == "bias":
        mask = mask.with_bias(torch.empty(1, 4, queries, 5, device="meta"))
    out = backends.sdpa(heads(4, queries), heads(2, 5), heads(2, 5), mask, Scores(0.3))
    assert out.shape == (2, 4, queries, 64)
    ((query, key, options),) = calls
    assert query[1] == key[1] and not options["enable_gqa"]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("queries", [1, 5])
def test_other_forms_of_grouped_queries_give_the_same(monkeypatch, queries, bias):
    query, key, value = qkv()
    query = query[:, :, :queries]
    mask = AttentionMask(torch.rand(2, 1, queries, 5) > 0.3)
    if bias:
        mask = mask.with_bias(torch.randn(2, 4, queries, 5))
    with torch.no_grad():
        expected = backends.sdpa(query, key, value, mask, Scores(0.3))
        form = "folded" if queries == 1 else "repeated"
        monkeypatch.setattr(backends, "grouping", lambda query, key, masked: form)
        torch.testing.assert_close(backends.sdpa(query, key, value, mask, Scores(0.3)), expected)


@pytest.mark.parametrize("name", MASKS)
def test_flex_attention_has_sinks_and_caps(name):
    torch.manual_seed(1)
    mask, sinks = MASKS[name](), torch.tensor([0.5, -1.0, 3.0, 0.0])
    real = slice(2, None) if name in ("padding", "full") else slice(None)
    for scores in (Scores(0.3, sinks=sinks), Scores(0.3, softcap=2.0)):
        with torch.no_grad():
            expected = backends.eager(*qkv(), mask, scores)
            out = get_backend("flex")(*qkv(), mask, scores)
        torch.testing.assert_close(out[:, :, real], expected[:, :, real])


def test_a_compiler_is_given_the_rule_and_no_matrix(monkeypatch):
    """flex as an accelerator runs it, traced on a CPU: mask and attention in one graph."""
    monkeypatch.setattr(AttentionMask, "visible", None)
    padding, groups = torch.tensor([[0, 1, 1, 1, 1], [1] * 5]), torch.tensor([[-1, 0, 0, 1, 1]] * 2)

    @torch.compile(backend="eager", fullgraph=True)
    def run(query, key, value):
        mask = Sight(5, 0, CPU, padding, groups=groups).causal(window=2)
        return backends.flex(query, key, value, mask, Scores(0.3))

    with torch.no_grad():
        out = run(*qkv())
        monkeypatch.undo()
        mask = Sight(5, 0, CPU, padding, groups=groups).causal(window=2)
        expected = backends.eager(*qkv(), mask, Scores(0.3))
    torch.testing.assert_close(out[:, :, 1:], expected[:, :, 1:])


def test_scores_without_a_kernel_are_said_once_on_an_accelerator():
    backends._say_step_by_step.cache_clear()
    capped = Scores(0.3, softcap=2.0)
    query, key, value = heads(4, 5), heads(2, 5), heads(2, 5)
    with pytest.warns(UserWarning, match="no kernel for capped scores.*attention=flex"):
        backends.sdpa(query, key, value, AttentionMask(), capped)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backends.sdpa(query, key, value, AttentionMask(), capped)
        backends._say_step_by_step.cache_clear()
        backends.sdpa(*qkv(), AttentionMask(), capped)
