"""Adapters on a model: what they change, which count, and that nothing of the base is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tfcli.models.adapters.attach import add_adapter, shared_targets, train_only
from tfcli.models.adapters.control import (
    active_adapters,
    adapters_of,
    combine_adapters,
    delete_adapter,
    disabled,
    merge_adapters,
    moved_tensors,
    set_active,
)
from tfcli.models.adapters.settings import AdapterSettings
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.models.saving import plan_export

LLAMA = {
    "model_type": "llama",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
    "initializer_range": 0.3,
}
MIXTRAL = {**LLAMA, "model_type": "mixtral", "num_local_experts": 3, "num_experts_per_tok": 2}
IDS = torch.tensor([[3, 14, 15, 9, 26, 5]])
LORA = AdapterSettings(rank=4)
KINDS = {
    "lora": LORA,
    "rslora": replace(LORA, rslora=True),
    "gaussian": replace(LORA, start="gaussian"),
    "dora": replace(LORA, dora=True),
    "pissa": replace(LORA, start="pissa"),
    "olora": replace(LORA, start="olora"),
    "ia3": AdapterSettings(type="ia3", feedforward_modules=("down_proj",)),
    "table and head": replace(LORA, target_modules=("embed_tokens", "lm_head", "q_proj")),
    "dora of a table": replace(LORA, target_modules=("embed_tokens",), dora=True),
    "a head whole": replace(LORA, target_modules=("q_proj",), modules_to_save=("lm_head",)),
}


def model(config=LLAMA, **changes):
    return initialize(build(read_config({**config, **changes}), "causal-lm"), 0).eval()


def answer(model):
    with torch.no_grad():
        return model(IDS).logits


def trained(model, seed=0):
    """As if training had moved what is trained."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def near(first, second, within=1e-4):
    torch.testing.assert_close(first, second, rtol=1e-4, atol=within)


def apart(first, second):
    assert (first - second).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_adapter_changes_no_answer_and_disabled_it_is_not_there(kind):
    base = model()
    before = answer(base)
    add_adapter(base, KINDS[kind])
    near(answer(base), before)
    apart(answer(trained(base)), before)
    with disabled(base):
        near(answer(base), before)
    apart(answer(base), before)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_answer_as_the_adapter_did(kind):
    adapted = model()
    add_adapter(adapted, KINDS[kind])
    expected = answer(trained(adapted))
    merge_adapters(adapted)
    assert adapters_of(adapted) == []
    near(answer(adapted), expected)
    assert {each.name for each in plan_export(adapted)} >= {"model.embed_tokens.weight"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_adapter_leaves_the_model_as_it_was(kind):
    base = model()
    before, names = answer(base), list(base.state_dict())
    add_adapter(base, KINDS[kind])
    delete_adapter(trained(base), "default")
    near(answer(base), before)
    assert list(base.state_dict()) == names
    assert base.lm_head.weight is base.model.embed_tokens.weight


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "a head whole"])
def test_the_base_is_frozen_and_keeps_its_bits(kind):
    base = model()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    add_adapter(base, KINDS[kind])
    optimizer = torch.optim.SGD([p for p in base.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):  # LoRA's first factor has no gradient as long as the second is zero
        loss = base(IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
    assert base(IDS, labels=IDS).loss < loss
    after = base.state_dict()
    for name, tensor in before.items():
        path, _, leaf = name.rpartition(".")
        found = after.get(name, after.get(f"{path}.base_layer.{leaf}"))
        assert torch.equal(found, tensor), name


def test_dropout_is_of_training_alone():
    adapted = trained_with(replace(LORA, dropout=0.5))
    assert torch.equal(answer(adapted), answer(adapted))
    adapted.train()
    assert not torch.equal(answer(adapted), answer(adapted))


def test_scales_are_alpha_over_rank_or_its_root():
    base = model()
    add_adapter(base, replace(LORA, alpha=8.0), "plain")
    add_adapter(base, replace(LORA, alpha=8.0, rslora=True), "root")
    changes = base.blocks[0].self_attn.q_proj.changes
    assert (changes["plain"].scale, changes["root"].scale) == (2.0, 4.0)


def test_equal_seeds_draw_equal_factors_and_others_do_not():
    first, again, other = model(), model(), model()
    for each, seed in ((first, 1), (again, 1), (other, 2)):
        add_adapter(each, LORA, seed=seed)
    drawn = [
        each.blocks[0].mlp.up_proj.changes["default"].lora_A.weight
        for each in (first, again, other)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], first.blocks[0].mlp.gate_proj.changes["default"].lora_A.weight)


def trained_with(settings, name="default", seed=0, on=None):
    base = on or model()
    add_adapter(base, settings, name)
    return trained(base, seed)


def test_factors_of_outputs_are_worked_into_biases_too():
    base = model({**LLAMA, "model_type": "qwen2"})
    for name, parameter in base.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    settings = AdapterSettings(type="ia3", feedforward_modules=("k_proj",))
    expected = answer(trained_with(settings, on=base))
    merge_adapters(base)
    near(answer(base), expected)


def test_one_of_two_adapters_is_trained():
    both = trained_with(LORA, "first")
    add_adapter(both, LORA, "second")
    train_only(both, "first", LORA)
    trained_ones = {
        name.split(".changes.")[1] for name, p in both.named_parameters() if p.requires_grad
    }
    assert {name.partition(".")[0] for name in trained_ones} == {"first"}


def test_two_adapters_count_one_at_a_time_or_together():
    both = trained_with(LORA, "first")
    first = answer(both)
    trained_with(replace(LORA, target_modules=("o_proj", "q_proj")), "second", 1, both)
    assert adapters_of(both) == ["first", "second"] and active_adapters(both) == ("second",)
    second = answer(both)
    apart(first, second)
    set_active(both, "first")
    assert torch.equal(answer(both), first)
    set_active(both, "first", "second")
    together = answer(both)
    merge_adapters(both)
    near(answer(both), together)


def test_a_pissa_beside_another_adapter_does_not_change_what_that_one_says():
    base = model()
    trained_with(LORA, "plain", 0, base)
    expected = answer(base)
    trained_with(replace(LORA, start="pissa"), "taken", 1, base)
    set_active(base, "plain")
    near(answer(base), expected)
    merge_adapters(base, "plain")
    near(answer(base), expected)


def test_a_weighted_sum_is_one_adapter_whose_change_is_the_sum_of_the_changes():
    weights = {"a": 0.5, "b": -1.0, "c": 2.0}
    kinds = {"a": LORA, "b": replace(LORA, rank=2, start="pissa"), "c": replace(LORA, rslora=True)}
    base = model()
    plain = base.blocks[1].mlp.up_proj.weight.detach().clone()
    expected = plain.clone()
    for seed, (name, settings) in enumerate(kinds.items()):
        trained_with(settings, name, seed, base)
        alone = trained_with(settings, name, seed)
        merge_adapters(alone)
        expected += weights[name] * (alone.blocks[1].mlp.up_proj.weight - plain)
    combine_adapters(base, weights, "sum")
    assert active_adapters(base) == ("sum",)
    # What pissa took out of the base at first stands beside what it is now.
    assert base.blocks[1].mlp.up_proj.change("sum").rank == 4 + 2 * 2 + 4
    said = answer(base)
    merge_adapters(base, "sum")
    near(answer(base), said)
    near(base.blocks[1].mlp.up_proj.weight, expected)


def test_what_does_not_add_up_is_named():
    base = trained_with(replace(LORA, dora=True), "dora")
    with pytest.raises(ModelError, match="in a way that does not add up"):
        combine_adapters(base, {"dora": 1.0}, "sum")
    with pytest.raises(ModelError, match=r"no adapter 'dorra' \| dorra \| did you mean 'dora'"):
        combine_adapters(base, {"dorra": 1.0}, "sum")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("q_proj",), ["layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"]),
        (("layers.1.mlp.up_proj",), ["layers.1.mlp.up_proj"]),
        (r"model\.layers\.0\..*(up|down)_proj", ["layers.0.mlp.up_proj", "layers.0.mlp.down_proj"]),
    ],
)
def test_targets_are_names_ends_of_names_or_a_pattern(words, found):
    changed = add_adapter(model(), replace(LORA, target_modules=words))
    assert sorted(changed) == sorted(f"model.{each}" for each in found)


def test_all_linear_is_every_linear_of_the_blocks_but_not_the_head():
    changed = add_adapter(model(), LORA)
    assert len(changed) == 2 * 7 and not any("lm_head" in each for each in changed)


def test_experts_are_linears_as_any_other_and_the_router_is_none():
    changed = add_adapter(mixture := model(MIXTRAL), LORA)
    assert sum(".experts." in each for each in changed) == 2 * 3 * 3
    assert not any(each.endswith(".gate") for each in changed)
    before = answer(mixture)
    apart(answer(trained(mixture)), before)


def test_layers_and_excluded_modules_are_left_out():
    settings = replace(LORA, layers=(1,), exclude_modules=("mlp.up_proj",))
    changed = add_adapter(model(), settings)
    assert all(".layers.1." in each for each in changed) and len(changed) == 6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target_modules": ("q_porj",)}, "'q_porj' | target_modules | did you mean 'q_proj'?"),
        ({"target_modules": ("q_proj", "nothing")}, "no module is called 'nothing'"),
        ({"target_modules": "q_proj"}, "no module is called 'q_proj'"),
        ({"target_modules": ("self_attn",)}, "adapters go on linears and tables"),
        ({"exclude_modules": ("mpl",)}, "'mpl' | exclude_modules"),
        ({"modules_to_save": ("lm_haed",)}, "did you mean 'lm_head'?"),
        ({"layers": (7,)}, "no module is left"),
        ({"start": "pissa", "dora": True}, "whose lengths DoRA learns"),
        ({"start": "pissa", "rank": 17}, "a matrix of no more than 16"),
        ({"start": "olora", "target_modules": ("embed_tokens",)}, "shares it"),
        ({"start": "olora", "target_modules": ("lm_head",)}, "would change the weight of"),
        ({"type": "ia3", "target_modules": ("embed_tokens",)}, "IA3 changes linears"),
    ],
)
def test_what_cannot_be_is_named_and_leaves_the_model_alone(settings, said):
    base = model()
    before = list(base.state_dict())
    with pytest.raises(ModelError) as error:
        add_adapter(base, replace(LORA, **settings))
    assert said in str(error.value)
    assert list(base.state_dict()) == before


def test_an_adapter_on_a_tied_head_is_said_and_merged_apart():
    base = model()
    changed = add_adapter(base, replace(LORA, target_modules=("lm_head",)))
    assert shared_targets(base, changed) == {"lm_head": "model.embed_tokens"}
    table = base.model.embed_tokens.weight.detach().clone()
    expected = answer(trained(base))
    assert merge_adapters(base) == ["lm_head.weight"]
    assert torch.equal(base.model.embed_tokens.weight, table)
    near(answer(base), expected)
    assert "lm_head.weight" in {each.name for each in plan_export(base)}


def test_an_untied_head_is_shared_with_nothing():
    base = model(tie_word_embeddings=False)
    assert shared_targets(base, add_adapter(base, KINDS["table and head"])) == {}


def test_a_name_is_taken_once_and_has_no_dot():
    base = trained_with(LORA)
    for name, said in (("default", "has an adapter 'default' already"), ("a.b", "no name")):
        with pytest.raises(ModelError, match=said):
            add_adapter(base, LORA, name)


def test_a_module_that_one_adapter_has_whole_is_not_changed_by_another():
    base = model()
    add_adapter(base, replace(LORA, target_modules=("q_proj",), modules_to_save=("layers.0.mlp",)))
    with pytest.raises(ModelError, match=r"another adapter is on model\.layers\.0\.mlp"):
        add_adapter(base, LORA, "second")
    other = trained_with(LORA)
    with pytest.raises(ModelError, match="another adapter is on"):
        add_adapter(
            other, replace(LORA, target_modules=("embed_tokens",), modules_to_save=("mlp",)), "b"
        )


def test_a_model_with_adapters_is_not_saved_as_a_checkpoint():
    with pytest.raises(ModelError, match="a model with adapters is no checkpoint"):
        plan_export(trained_with(LORA))


def test_biases_are_trained_where_asked():
    counts = {}
    for which in ("none", "all", "lora_only"):
        base = model({**LLAMA, "model_type": "qwen2"})
        add_adapter(base, AdapterSettings(target_modules=("q_proj",), bias=which))
        counts[which] = sum(
            n.endswith("bias") for n, p in base.named_parameters() if p.requires_grad
        )
    assert counts == {"none": 0, "all": 2 * 3, "lora_only": 2}


def test_an_adapter_is_put_on_a_model_without_memory():
    empty = build(read_config(LLAMA), "causal-lm")
    add_adapter(empty, replace(LORA, modules_to_save=("lm_head",)))
    assert all(parameter.is_meta for parameter in empty.parameters())
    filled = model()
    add_adapter(filled, replace(LORA, modules_to_save=("lm_head",)))
    shapes = {name: tensor.shape for name, tensor in filled.state_dict().items()}
    assert {name: tensor.shape for name, tensor in empty.state_dict().items()} == shapes


def test_what_a_checkpoint_of_training_must_hold():
    assert moved_tensors(model()) is None
    base = model()
    add_adapter(base, replace(LORA, start="pissa", target_modules=("layers.0.mlp.up_proj",)))
    place = "model.layers.0.mlp.up_proj"
    change = f"{place}.changes.default"
    assert moved_tensors(base) == {
        f"{place}.base_layer.weight",
        f"{change}.lora_A.weight",
        f"{change}.lora_B.weight",
        f"{change}.first_a",
        f"{change}.first_b",
    }
