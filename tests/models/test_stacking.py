"""Stacked experts compute what single ones do, in every way, and go back bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.models.cases.mixtures import CASES
from tests.models.parity import assert_close, assert_same_weights, inputs, reference, twin
from tfcli.models.errors import ModelError
from tfcli.models.layers.stacked_experts import StackedExperts, StackedLinear
from tfcli.models.saving import export_tensors
from tfcli.models.stacking import is_stacked, stack_experts, unstack_experts

FIRST = {case.config: case for case in reversed(CASES)}
FAMILIES = [
    FIRST[f"{name}Config"] for name in ("Mixtral", "Qwen2Moe", "DeepseekV3", "Olmoe", "GptOss")
]
# Its shares scale what experts are given: of one expert for each token, and of two.
FAMILIES += [case for case in CASES if case.config == "Llama4TextConfig"]
WAYS = ("counted", "gathered", "grouped", "masked")
each_family = pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case.name)
each_way = pytest.mark.parametrize("way", WAYS)


def choose(monkeypatch, way):
    """Take a way that a device or a graph takes, on the CPU."""
    monkeypatch.setattr(StackedExperts, "way", lambda self, x, rows: way)


def pair(case):
    single = twin(reference(case, "causal-lm"), "causal-lm")
    stacked = copy.deepcopy(single)
    assert stack_experts(stacked) > 0
    return single, stacked


@each_family
@each_way
def test_outputs_and_gradients_are_those_of_single_experts(case, way, monkeypatch):
    single, stacked = pair(case)
    batch = inputs(case, "causal-lm")
    choose(monkeypatch, way)
    out, expected = (model(**batch, labels=batch["input_ids"]) for model in (stacked, single))
    assert_close(out.logits, expected.logits)
    assert_close(out.loss, expected.loss)
    out.loss.backward()
    expected.loss.backward()
    gradients = {name: p.grad for name, p in single.named_parameters()}
    largest = max(float(g.abs().max()) for g in gradients.values())
    seen = 0
    for name, parameter in stacked.named_parameters():
        grad = parameter.grad
        if ".experts.expert." in name:
            names = [name.replace(".expert.", f".{n}.") for n in range(len(grad))]
            theirs = torch.stack([gradients[each] for each in names])
            seen += 1
        else:
            theirs = gradients[name]
        torch.testing.assert_close(grad, theirs, rtol=1e-3, atol=1e-5 * largest)
    assert seen


@each_family
@each_way
def test_decoding_a_token_is_that_of_single_experts(case, way, monkeypatch):
    single, stacked = pair(case)
    ids = inputs(case, "causal-lm", rows=1)["input_ids"]
    choose(monkeypatch, way)
    found = []
    for model in (single, stacked):
        cache = model.make_cache()
        with torch.no_grad():
            model(input_ids=ids[:, :5], cache=cache)
            found.append(model(input_ids=ids[:, 5:6], cache=cache).logits)
    assert_close(found[1], found[0])


@each_family
def test_unstacked_experts_have_the_bits_that_they_had(case):
    single, stacked = pair(case)
    before = dict(export_tensors(single))
    assert unstack_experts(stacked) == len([m for m in single.modules() if _is_list(m)])
    assert not is_stacked(stacked)
    assert_same_weights(stacked, single)
    after = dict(export_tensors(stacked))
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    batch = inputs(case, "causal-lm")
    with torch.no_grad():
        assert torch.equal(stacked(**batch).logits, single(**batch).logits)


def _is_list(module: nn.Module) -> bool:
    return hasattr(module, "experts")


@pytest.mark.parametrize(
    ("way", "dtype", "tokens"),
    [
        ("gathered", torch.bfloat16, 1),
        ("gathered", torch.float32, 32),
        ("grouped", torch.bfloat16, 33),
        ("counted", torch.float32, 33),
    ],
)
def test_the_way_to_multiply_on_a_device(monkeypatch, way, dtype, tokens):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: False)
    _, stacked = pair(FAMILIES[0])
    experts = stacked.blocks[0].block_sparse_moe.experts.to(dtype)
    x = torch.empty(tokens, 16, dtype=dtype)
    assert experts.way(x.to("meta"), rows=2 * tokens) == way
    assert experts.way(x, rows=2 * tokens) == "counted"


def test_a_model_with_stacked_experts_is_not_saved():
    _, stacked = pair(FAMILIES[0])
    with pytest.raises(ModelError, match="stacked experts have other names") as caught:
        list(export_tensors(stacked))
    assert "unstack_experts" in caught.value.fix


def test_stacking_twice_stacks_nothing_more():
    _, stacked = pair(FAMILIES[0])
    assert stack_experts(stacked) == 0


def test_frozen_experts_stay_frozen():
    single, _ = pair(FAMILIES[0])
    single.requires_grad_(False)
    stack_experts(single)
    assert not any(parameter.requires_grad for parameter in single.parameters())
    unstack_experts(single)
    assert not any(parameter.requires_grad for parameter in single.parameters())


def test_experts_that_are_no_plain_linears_are_refused_by_name():
    single, _ = pair(FAMILIES[0])
    experts = single.blocks[0].block_sparse_moe.experts
    experts[0].w1.weight.requires_grad_(False)
    with pytest.raises(ModelError, match="some are frozen") as caught:
        stack_experts(single)
    assert caught.value.where == "model.layers.0.block_sparse_moe.experts"
    experts[1].w1 = nn.Linear(experts[0].w1.in_features, experts[0].w1.out_features, bias=False)
    with pytest.raises(ModelError, match=r"experts with w1\.weight cannot be stacked"):
        stack_experts(single)
    assert not is_stacked(single)


def test_tokens_of_stacked_experts_are_counted():
    single, stacked = pair(FAMILIES[0])
    batch = inputs(FAMILIES[0], "causal-lm")
    counts = []
    for model in (single, stacked):
        model.blocks[0].block_sparse_moe.count_tokens(True)
        with torch.no_grad():
            model(**batch)
        counts.append(model.blocks[0].block_sparse_moe.expert_tokens)
    assert torch.equal(*counts)


def test_a_bfloat16_mixture_is_added_up_in_float32():
    torch.manual_seed(0)
    single, stacked = pair(FAMILIES[0])
    single, stacked = single.bfloat16(), stacked.bfloat16()
    batch = inputs(FAMILIES[0], "causal-lm")
    with torch.no_grad():
        assert_close(stacked(**batch).logits, single(**batch).logits, 0.02)


@each_way
def test_autocast_reaches_stacked_experts(way, monkeypatch):
    _, stacked = pair(FAMILIES[-1])
    kinds = []
    for module in stacked.modules():
        if isinstance(module, StackedLinear):
            module.register_forward_hook(lambda _, args, out: kinds.append(out.dtype))
    choose(monkeypatch, way)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        stacked(**inputs(FAMILIES[-1], "causal-lm"))
    assert set(kinds) == {torch.bfloat16}
