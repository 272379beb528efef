"""Whoever wrote a checkpoint, its tensors have the names and axes of the hub when it is open."""

from __future__ import annotations

import re

import pytest
import torch
import transformers

from tests.checkpoints.in_memory import assert_same, held, written
from tests.checkpoints.models import GPT2, LLAMA, tiny
from tests.models.tiny import FIRST, content, tiny_model
from tfcli.checkpoints.family_names import in_family_names
from tfcli.checkpoints.folder import save_model
from tfcli.errors import WorkError
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

MIXTURES = ["mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v3"]


@pytest.mark.parametrize("model_type", MIXTURES)
def test_experts_that_transformers_keeps_in_one_tensor_in_memory(model_type, tmp_path):
    model = tiny_model(model_type)
    config, tensors = written(model)
    save_model(model, tmp_path)
    state = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert any(name.endswith("experts.gate_up_proj") for name in state)
    assert_same(in_family_names(held(config, state)), tensors)


def stacked(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """mlx-lm's stacks of experts."""
    kinds = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    found: dict[str, list[torch.Tensor]] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.*)\.experts\.\d+\.(\w+)\.weight", name)
        leaf = match and kinds.get(match[2], match[2])
        found.setdefault(f"{match[1]}.switch_mlp.{leaf}.weight" if match else name, []).append(
            tensor
        )
    return {
        name: torch.stack(parts) if ".switch_mlp." in name else parts[0]
        for name, parts in found.items()
    }


def heads_apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """mlx-lm's two halves of latent attention's second matrix."""
    config = FIRST["deepseek_v3"].settings
    heads, first = config["num_attention_heads"], config["qk_nope_head_dim"]
    found = {}
    for name, tensor in tensors.items():
        if name.endswith("kv_b_proj.weight"):
            parts, module = tensor.unflatten(0, (heads, -1)), name.removesuffix("kv_b_proj.weight")
            found[f"{module}embed_q.weight"] = parts[:, :first].transpose(1, 2)
            found[f"{module}unembed_out.weight"] = parts[:, first:]
        else:
            found[name] = tensor
    return found


def turned(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    linears = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    found = {n: t.t() if n.endswith(linears) else t for n, t in tensors.items()}
    return {"model." + name.removeprefix("transformer."): t for name, t in found.items()}


def neox(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    body = {name.replace("gpt_neox.layers.", "gpt_neox.h."): t for name, t in tensors.items()}
    return {"model." + name.removeprefix("gpt_neox."): t for name, t in body.items()}


def kernels(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n: t.transpose(1, 2) if "conv1d.weight" in n else t for n, t in tensors.items()}


MLX = {
    **dict.fromkeys(MIXTURES[:4], stacked),
    "deepseek_v3": lambda tensors: heads_apart(stacked(tensors)),
    "gpt2": turned,
    "gpt_neox": neox,
    "mamba": kernels,
    "mamba2": kernels,
}


@pytest.mark.parametrize("model_type", MLX)
def test_names_and_axes_of_mlx(model_type):
    config, tensors = written(tiny_model(model_type))
    spelt = MLX[model_type](tensors)
    assert any(name not in tensors or t.shape != tensors[name].shape for name, t in spelt.items())
    assert_same(in_family_names(held(config, spelt)), tensors)


@pytest.mark.parametrize("settings", [LLAMA, {**LLAMA, "tie_word_embeddings": True}, GPT2])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: f"model.{name}",
        lambda name: f"_forward_module.model.{name}",
        lambda name: f"anything.of.mine.{name}",
        lambda name: f"net.model.{name}",
        lambda name: name.replace(".mlp.", ".mlp.module."),
        lambda name: re.sub(r"^(model|transformer)\.", r"\1.language_model.", name),
        lambda name: name.replace(".mlp.", ".mlp._checkpoint_wrapped_module."),
        lambda name: name.replace(".0.", ".0._fsdp_wrapped_module._orig_mod."),
        lambda name: re.sub(r"\.(q_proj|c_attn)\.", r".\1.base_layer.", name),
    ],
)
def test_modules_that_trainers_put_around_a_model_and_into_it(settings, wrap):
    config, tensors = written(tiny(settings))
    wrapped = {wrap(name): tensor for name, tensor in tensors.items()}
    assert wrapped.keys() != tensors.keys()
    assert_same(in_family_names(held(config, wrapped)), tensors)


@pytest.mark.parametrize("model_type", FIRST)
def test_of_tensors_that_are_one_by_the_config_any_may_be_the_stored_one(model_type):
    model = tiny_model(model_type, tie_word_embeddings=True)
    config, tensors = written(model)
    checkpoint = held(config, tensors)
    for name, origin in checkpoint.ties.items():
        if origin in tensors:
            only = {name if key == origin else key: tensor for key, tensor in tensors.items()}
            assert_same(in_family_names(held(config, only)), tensors)
    assert_same(in_family_names(checkpoint), tensors)


def test_a_table_of_both_parts_beside_a_head_of_its_own():
    """As madlad400 has them: the head is not the table, although all three are one size."""
    settings = {**content("t5"), "tie_word_embeddings": False}
    config, tensors = written(initialize(build(read_config(settings))))
    only = {n.replace("shared.", "decoder.embed_tokens."): t for n, t in tensors.items()}
    assert "lm_head.weight" in only and "shared.weight" not in only
    assert_same(in_family_names(held(config, only)), tensors)


def test_biases_of_zeros_that_the_model_lacks_go_and_others_stay():
    config, tensors = written(tiny())
    bias = "model.layers.0.self_attn.q_proj.bias"
    found = in_family_names(held(config, {**tensors, bias: torch.zeros(32)}))
    assert_same(found, tensors)
    assert found.unused == {bias: "zeros: the model has no such bias"}
    other = {**tensors, bias: torch.eye(32)[0]}
    assert_same(in_family_names(held(config, other)), other)


@pytest.mark.parametrize("prefix", ["", "pretrained_model."])
def test_the_value_head_of_a_trainer_is_left_out(prefix):
    config, tensors = written(tiny())
    head = {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.ones(1)}
    found = in_family_names(held(config, {**{prefix + n: t for n, t in tensors.items()}, **head}))
    assert_same(found, tensors)
    assert found.unused == dict.fromkeys(head, "the value head of a trainer")


def test_a_name_that_only_some_of_the_odd_ones_explain_stays():
    config, tensors = written(tiny())
    odd = {name.replace(".mlp.", ".other.mlp."): t for name, t in tensors.items()}
    odd["model.layers.0.more.weight"] = torch.ones(2)
    assert_same(in_family_names(held(config, odd)), odd)


def test_two_spellings_of_one_tensor_and_an_adapter_inside_are_refused():
    config, tensors = written(tiny())
    twice = {**tensors, "model.layers.0._orig_mod.input_layernorm.weight": torch.ones(32)}
    with pytest.raises(WorkError, match=r"are both named 'model\.layers\.0\.input_layernorm"):
        in_family_names(held(config, twice))
    lora = {**tensors, "model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(4, 32)}
    with pytest.raises(WorkError, match="belongs to an adapter"):
        in_family_names(held(config, lora))


def test_a_family_that_is_not_known_keeps_its_names_but_for_wrappers():
    tensors = {"_orig_mod.a.weight": torch.ones(2), "_orig_mod.b.experts.down_proj": torch.ones(2)}
    found = in_family_names(held({"model_type": "unheard"}, tensors))
    assert list(found.tensors) == ["a.weight", "b.experts.down_proj"]
