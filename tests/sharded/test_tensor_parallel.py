"""Tensor parallelism: the plan that follows from a walk, and what two processes compute."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.checkpoints.models import tokens
from tests.models.tiny import FIRST, content, tiny_model
from tests.sharded.processes import in_two_processes
from tfcli.checkpoints.folder import save_model
from tfcli.models.errors import ModelError
from tfcli.models.loading import build
from tfcli.models.registry import FAMILIES, read_config
from tfcli.models.tensor_parallel import parallelize, tensor_parallel_plan

# What cannot be cut -> why, in a word of the error.
WHOLE = {
    "phi3": "values, and self_attn.o_proj takes",  # fused, as in the next ones
    "codegen": "values, and attn.out_proj takes",
    "gpt_neox": "values, and attention.dense takes",
    "bloom": "GroupedAttention",  # slopes of all heads
    "falcon": "values, and self_attention.dense takes",
    "gpt_bigcode": "values, and attn.c_proj takes",
    "gpt2": "GPT2Attention",
    "glm4": "FusedGatedMLP",
    "olmo2": "RotaryAttention",  # norms over all heads
    "olmo3": "RotaryAttention",
    "olmoe": "RotaryAttention",
    "gpt_oss": "RotaryAttention",  # sinks
    "deepseek_v2": "LatentAttention",
    "deepseek_v3": "LatentAttention",
    "granitemoe": "FusedGatedMLP",
    "granitemoeshared": "FusedGatedMLP",
    "llama4_text": "FusedGatedMLP",
    "bitnet": "RotaryAttention",  # norms between the two halves
    "distilbert": "DistilBertAttention",
    "albert": "AlbertLayer",
    "mpt": "MptAttention",
    "ctrl": "Attention",
    "qwen3_next": "FusedGatedDeltaNet",
    "qwen3_5_text": "GatedDeltaNet",
    "qwen3_5_moe_text": "GatedDeltaNet",
    "lfm2": "ShortConv",
    "granitemoehybrid": "Mamba2Mixer",
    "falcon_h1": "Mamba2Mixer",
    "jamba": "MambaMixer",
    "minimax": "LightningAttention",
    "mamba": "MambaMixer",
    "mamba2": "Mamba2Mixer",
    "rwkv": "RwkvAttention",
    "opt": "OPTBlock",
    "t5": "several chains of blocks",
}


def plan_of(model_type, **changes):
    return tensor_parallel_plan(build(read_config(content(model_type, **changes)), "causal-lm"))


def test_a_group_that_shares_an_input_is_cut_by_outputs_and_the_next_by_inputs():
    plan = plan_of("llama")
    first = {name: cut for name, cut in plan.items() if ".layers.0." in name}
    assert first == {
        "model.layers.0.self_attn.q_proj": "colwise",
        "model.layers.0.self_attn.k_proj": "colwise",
        "model.layers.0.self_attn.v_proj": "colwise",
        "model.layers.0.self_attn.o_proj": "rowwise",
        "model.layers.0.mlp.gate_proj": "colwise",
        "model.layers.0.mlp.up_proj": "colwise",
        "model.layers.0.mlp.down_proj": "rowwise",
    }


@pytest.mark.parametrize("model_type", ["bert", "roberta", "electra", "esm"])
def test_the_halves_of_an_encoder_are_cut_across_its_modules(model_type):
    model = build(read_config(content(model_type)))
    plan = tensor_parallel_plan(model)
    path = f"{model.calibration.blocks}.0"
    assert {name: cut for name, cut in plan.items() if name.startswith(f"{path}.")} == {
        f"{path}.attention.self.query": "colwise",
        f"{path}.attention.self.key": "colwise",
        f"{path}.attention.self.value": "colwise",
        f"{path}.attention.output.dense": "rowwise",
        f"{path}.intermediate.dense": "colwise",
        f"{path}.output.dense": "rowwise",
    }


def test_each_expert_is_cut():
    plan = plan_of("mixtral")
    inside = "model.layers.1.block_sparse_moe.experts"
    assert plan[f"{inside}.0.w1"] == plan[f"{inside}.1.w3"] == "colwise"
    assert plan[f"{inside}.1.w2"] == "rowwise"
    assert not any(name.endswith(".gate") for name in plan)


@pytest.mark.parametrize("model_type", WHOLE)
def test_what_cannot_be_cut_by_heads_is_refused_by_name(model_type):
    model = build(read_config(content(model_type)))
    with pytest.raises(ModelError, match=f"{model_type} cannot be cut") as raised:
        tensor_parallel_plan(model)
    assert WHOLE[model_type] in raised.value.what


def test_norms_with_weights_for_each_head_are_refused():
    with pytest.raises(ModelError, match="cohere cannot be cut"):
        plan_of("cohere", use_qk_norm=True)


@pytest.mark.parametrize(
    "model_type",
    [name for name in FIRST if name not in WHOLE and FAMILIES[name].kind == "decoder"],
)
def test_every_other_decoder_has_a_plan_for_each_of_its_linears(model_type):
    model = build(read_config(content(model_type)))
    plan, walk = tensor_parallel_plan(model), model.calibration
    blocks = model.get_submodule(walk.blocks).named_children()
    named = {f"{walk.blocks}.{at}.{name}" for at, b in blocks for name in walk.linears(b)}
    assert plan.keys() == named


def test_heads_that_processes_cannot_share_are_refused():
    model = build(read_config(content("llama", num_attention_heads=4, num_key_value_heads=2)))
    mesh = SimpleNamespace(size=lambda: 4)
    with pytest.raises(ModelError, match="k_proj has 2 heads, which 4 processes cannot share"):
        parallelize(model, mesh)


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "mixtral", "gptj"])
def test_two_processes_compute_what_one_does(tmp_path, model_type):
    model = tiny_model(model_type, "causal-lm")
    save_model(model, tmp_path / "model")
    ids = tokens() % model.config.vocab_size
    output = model(ids, labels=ids)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.save((ids, output.logits.detach(), gradients), tmp_path / "expected.pt")
    found = in_two_processes("cut_heads.py", tmp_path / "model", tmp_path / "expected.pt")
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for each in found:
        assert each["difference"] < 1e-4
        assert each["with a cache"] < 1e-4
        assert each["gradients"] < 1e-4 * max(largest, 1)
        assert each["cut"] >= len(tensor_parallel_plan(model))
