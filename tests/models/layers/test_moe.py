"""Mixtures of experts: rows find their experts and come back, and experts are counted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tfcli.models.config import config_from_recipe
from tfcli.models.context import begin
from tfcli.models.errors import ModelError
from tfcli.models.layers.linear import linear
from tfcli.models.layers.moe import MixtureOfExperts, expert_counts, mix
from tfcli.models.layers.routing import Routing, SoftmaxRouter
from tfcli.models.loading import build, initialize, load_weights
from tfcli.models.saving import export_tensors

SIZES = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
DEEPSEEK = {
    "moe_intermediate_size": 8,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
}
IDS = torch.arange(8)[None]


def model_of(model_type, **changes):
    config = config_from_recipe({"model_type": model_type, **SIZES, **changes})
    return initialize(build(config), seed=1).eval()


def mixture(experts=4, k=2, **options):
    torch.manual_seed(0)
    layer = MixtureOfExperts(
        SoftmaxRouter(8, experts, k, normalize=True),
        (linear(8, 8, bias=True) for _ in range(experts)),
        **options,
    )
    nn.init.normal_(layer.gate.weight)
    return layer.eval()


def one_by_one(layer, x):
    """The definition: each token through each of its experts."""
    routing = layer.gate(x)
    out = torch.zeros(x.shape)
    for row, (weights, chosen) in enumerate(zip(routing.weights, routing.chosen, strict=True)):
        for weight, expert in zip(weights, chosen.tolist(), strict=True):
            out[row] += weight * layer.experts[expert](x[row : row + 1]).float()[0]
    return out


@pytest.mark.parametrize("learning", [False, True], ids=["frozen", "learning"])
@pytest.mark.parametrize("tokens", [1, 2, 33])
def test_the_layer_is_the_weighted_sum_of_the_chosen_experts(tokens, learning):
    layer, x = mixture(), torch.randn(tokens, 8)
    with torch.set_grad_enabled(learning):
        out = layer(x[None], begin(x[None]))
        torch.testing.assert_close(out, one_by_one(layer, x)[None])


@pytest.mark.parametrize("tokens", [1, 33])
def test_sums_are_added_up_in_float32(tokens):
    layer, x = mixture(k=4).bfloat16(), torch.randn(1, tokens, 8).bfloat16()
    with torch.no_grad():
        out = layer(x, begin(x))
        exact = expert_by_expert(layer, x[0])
    assert out.dtype == torch.bfloat16
    # One rounding to bfloat16 is off by 0.0011 on average, one after each of four terms by 0.003.
    assert (out[0].float() - exact).norm() < 0.0018 * exact.norm()


def expert_by_expert(layer, x):
    """The weighted sum in float32, with each expert's outputs as the layer has them: a product's
    last bits depend on its number of rows."""
    routing = layer.gate(x)
    out = torch.zeros(x.shape)
    for number, expert in enumerate(layer.experts):
        rows, place = (routing.chosen == number).nonzero(as_tuple=True)
        if len(rows):
            out[rows] += routing.weights[rows, place, None].float() * expert(x[rows]).float()
    return out


def test_each_expert_runs_once_on_its_rows():
    layer, x = mixture(), torch.randn(3, 8)
    routing = Routing(
        logits=torch.zeros(3, 4),
        weights=torch.ones(3, 2),
        chosen=torch.tensor([[0, 3], [3, 1], [1, 0]]),
    )
    runs = []
    for number, expert in enumerate(layer.experts):
        expert.register_forward_pre_hook(
            lambda _, args, number=number: runs.append((number, args[0].tolist()))
        )
    with torch.no_grad():
        mix(x, routing, layer.experts)
    assert [number for number, _ in runs] == [0, 1, 3]
    for number, rows in runs:
        mine = (routing.chosen == number).any(-1)
        assert sorted(rows) == sorted(x[mine].tolist())


def test_an_expert_without_a_token_gets_a_gradient_of_zeros():
    layer, x = mixture(), torch.randn(1, 1, 8)
    layer(x, begin(x)).sum().backward()
    hit = set(layer.gate(x[0]).chosen[0].tolist())
    for number, expert in enumerate(layer.experts):
        assert bool(expert.weight.grad.any()) == (number in hit)


def test_jitter_is_for_training():
    plain, jittery = mixture(), mixture(jitter=0.3)
    x = torch.randn(1, 5, 8)
    assert torch.equal(jittery(x, begin(x)), plain(x, begin(x)))
    assert not torch.equal(jittery.train()(x, begin(x)), plain(x, begin(x)))


def test_tokens_of_each_expert_are_counted_on_request():
    model = model_of("qwen2_moe", moe_intermediate_size=8, mlp_only_layers=[0])
    assert expert_counts(model) == {}
    layer = model.model.layers[1].mlp
    layer.count_tokens(True)
    with torch.no_grad():
        chosen: list[torch.Tensor] = []
        layer.gate.register_forward_hook(lambda _, args, routing: chosen.append(routing.chosen))
        for ids in (IDS, IDS + 9):
            model(ids)
    counts = expert_counts(model)
    assert list(counts) == ["model.layers.1.mlp"]
    expected = torch.cat(chosen).flatten().bincount(minlength=4)
    assert torch.equal(counts["model.layers.1.mlp"], expected)
    assert expected.sum() == 2 * 8 * 2
    assert not any("expert_tokens" in name for name in model.state_dict())
    layer.count_tokens(False)
    assert expert_counts(model) == {}


def test_a_block_that_is_computed_again_does_not_count_again():
    model = model_of("mixtral").train()
    model.set_activation_checkpointing(True)
    for block in model.blocks:
        block.block_sparse_moe.count_tokens(True)
    model(IDS, labels=IDS).loss.backward()
    assert [int(counts.sum()) for counts in expert_counts(model).values()] == [16, 16]


def test_parts_of_a_batch_add_up_to_its_balanced_loss():
    balanced = {"output_router_logits": True, "router_aux_loss_coef": 0.5}
    model = model_of("mixtral", **balanced)
    plain = model_of("mixtral")
    with torch.no_grad():
        output = model(IDS, labels=IDS)
        assert output.loss == pytest.approx((plain(IDS, labels=IDS).loss + output.aux_loss).item())
        assert output.aux_loss >= 0.5 * 2  # k where the load is even
        parts = [model(IDS, labels=IDS, num_target_tokens=14).loss for _ in range(2)]
    assert sum(parts) == pytest.approx(output.loss.item())


def test_stacked_experts_are_views_of_the_stack():
    source = model_of("gpt_oss", head_dim=8)
    tensors = dict(export_tensors(source))
    stack = tensors["model.layers.0.mlp.experts.gate_up_proj"]
    assert stack.shape == (4, 16, 48)
    model = build(source.config)
    load_weights(model, tensors)
    for number, expert in enumerate(model.model.layers[0].mlp.experts):
        weight = expert.gate_up_proj.weight
        assert torch.equal(weight, stack[number].t())
        assert weight.data_ptr() == stack[number].data_ptr()


def test_a_stack_of_another_number_of_experts_is_refused():
    tensors = dict(export_tensors(model_of("gpt_oss", head_dim=8)))
    name = "model.layers.1.mlp.experts.down_proj_bias"
    tensors[name] = tensors[name][:3].clone()
    with pytest.raises(ModelError, match=r"down_proj_bias stacks 3, not 4"):
        load_weights(build(model_of("gpt_oss", head_dim=8).config), tensors)


def test_the_balancing_bias_stays_in_float32():
    source = model_of("deepseek_v3", **DEEPSEEK)
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    source.get_buffer(name).copy_(torch.tensor([0.1, -0.2, 0.3, 1e-4]))
    tensors = dict(export_tensors(source, dtype=torch.bfloat16))
    assert tensors[name].dtype == torch.float32
    model = build(source.config)
    load_weights(model, tensors, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.get_buffer(name), source.get_buffer(name))


def test_layers_that_predict_further_tokens_are_skipped_by_name():
    source = model_of("deepseek_v3", **DEEPSEEK)
    extra = "model.layers.61.eh_proj.weight"
    account = load_weights(build(source.config), dict(export_tensors(source)) | {extra: IDS})
    assert account.skipped == {extra: "part of a layer that predicts a further token"}
