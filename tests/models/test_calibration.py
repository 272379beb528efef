from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.test_loading import IDS, TINY, checkpoint
from tfcli.models.calibration import CalibrationWalk, Stage
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize

EXPERTS = {  # every token goes to every expert, so that all of them run
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "num_experts": 2,
    "num_experts_per_tok": 2,
}
MIXTURES = {
    "mixtral": {},
    "qwen2_moe": {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8},
    "qwen3_moe": {"moe_intermediate_size": 8, "mlp_only_layers": [0], "head_dim": 8},
    "olmoe": {},
    "deepseek_v3": {
        "moe_intermediate_size": 8,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
    },
    "gpt_oss": {"head_dim": 8},
    "deepseek_v2": {
        "moe_intermediate_size": 8,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
    },
    "glm4_moe": {"moe_intermediate_size": 8, "first_k_dense_replace": 1},
    "ernie4_5_moe": {"moe_intermediate_size": 8},
    "granitemoe": {},
    "granitemoeshared": {"shared_intermediate_size": 8},
    "llama4_text": {"head_dim": 8, "intermediate_size_mlp": 8, "interleave_moe_layer_step": 2},
}
SPELT = {"ernie4_5_moe": {"num_experts": "moe_num_experts", "num_experts_per_tok": "moe_k"}}


def mixture(model_type, **changes):
    spelt = {SPELT.get(model_type, {}).get(key, key): value for key, value in EXPERTS.items()}
    data = {"model_type": model_type, **spelt, "num_key_value_heads": 2}
    config = config_from_recipe(data | MIXTURES[model_type] | changes)
    return initialize(build(config), seed=1).eval()


def assert_walked(model, block):
    """The walk names the linears of a block as they run, and those that share an input."""
    seen: list[tuple[str, int]] = []
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(
                lambda _module, args, name=name: seen.append((name, args[0].data_ptr()))
            )
    with torch.no_grad():
        model(IDS)
    walk, inputs = model.calibration, dict(seen)
    assert [name for name, _ in seen] == list(walk.linears(block))
    groups = [group for stage in walk.stages(block) for group in stage.groups]
    assert sorted(name for group in groups for name in group) == sorted(inputs)
    for group in groups:
        assert len({inputs[name] for name in group}) == 1


@pytest.mark.parametrize("model_type", TINY)
def test_the_walk_names_every_linear_of_a_block_in_execution_order(model_type):
    model, _ = checkpoint(model_type)
    assert_walked(model, model.blocks[1])


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("model_type", MIXTURES)
def test_the_walk_knows_experts_and_blocks_that_differ(model_type, layer):
    model = mixture(model_type)
    assert_walked(model, model.blocks[layer])


def test_latent_attention_without_a_query_rank_is_walked_too():
    model = mixture("deepseek_v3", q_lora_rank=None)
    assert_walked(model, model.blocks[0])


def test_experts_are_calibrated_together_stage_by_stage():
    model = mixture("mixtral")
    gate_and_up, down = list(model.calibration.stages(model.blocks[0]))[2:]
    path = "block_sparse_moe.experts"
    assert gate_and_up == Stage(
        ((f"{path}.0.w1", f"{path}.0.w3"), (f"{path}.1.w1", f"{path}.1.w3")), idles=True
    )
    assert down == Stage(((f"{path}.0.w2",), (f"{path}.1.w2",)), idles=True)


def test_a_block_that_lacks_a_linear_is_an_error_unless_blocks_vary():
    block = nn.ModuleDict({"first": nn.Linear(2, 2)})
    groups = (("first", "second"), ("list.*.third",))
    with pytest.raises(AttributeError, match="second"):
        CalibrationWalk("layers", groups).linears(block)
    walk = CalibrationWalk("layers", groups, varies=True)
    assert walk.linears(block) == ("first",)
    assert list(walk.stages(block)) == [Stage((("first",),))]
    assert walk.names("second") and walk.names("list.7.third") and not walk.names("list.third")
