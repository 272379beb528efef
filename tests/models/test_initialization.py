from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import transformers
from safetensors.torch import load_file

from tests.models.cases import decoders, earlier, hybrids, mixtures, recurrent
from tests.models.test_loading import TINY, config
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.models.saving import plan_export


@pytest.mark.parametrize("model_type", TINY)
def test_equal_seeds_give_equal_weights(model_type):
    first, again, other = (
        initialize(build(config(model_type)), seed).state_dict() for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_values_follow_from_the_name_not_from_the_order():
    shallow = initialize(build(config("llama", num_hidden_layers=1)), 5).state_dict()
    deep = initialize(build(config("llama", num_hidden_layers=2)), 5).state_dict()
    assert all(torch.equal(shallow[name], deep[name]) for name in shallow)


def test_scales_are_those_of_the_family():
    wide = {"n_embd": 256, "n_layer": 2, "initializer_range": 0.05}
    weights = initialize(build(config("gpt2", **wide)), 0).state_dict()
    assert weights["transformer.h.0.attn.c_attn.weight"].std().item() == pytest.approx(
        0.05, rel=0.02
    )
    # Two residual additions a layer: 0.05 / sqrt(2 * 2).
    assert weights["transformer.h.0.mlp.c_proj.weight"].std().item() == pytest.approx(
        0.025, rel=0.02
    )
    assert (weights["transformer.ln_f.weight"] == 1).all()
    assert (weights["transformer.ln_f.bias"] == 0).all()
    assert (weights["transformer.h.0.mlp.c_fc.bias"] == 0).all()


def test_the_padding_row_is_zero_and_dtype_is_kept():
    model = initialize(build(config("bert")), 0, dtype=torch.bfloat16)
    assert (model.bert.embeddings.word_embeddings.weight[0] == 0).all()
    assert model.dtype == torch.bfloat16
    assert model.cls["predictions"].decoder.weight is model.bert.embeddings.word_embeddings.weight


DRAWN = {case.config: case for case in (*decoders.CASES, *earlier.CASES, *mixtures.CASES)}
DRAWN |= {case.name: case for case in (*recurrent.CASES, *hybrids.CASES)}


def both(settings: transformers.PretrainedConfig) -> tuple[dict, dict]:
    """New weights of ours and of transformers, by the names of a checkpoint."""
    ours = initialize(build(read_config(settings.to_dict()), "causal-lm"), 0)
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        transformers.AutoModelForCausalLM.from_config(settings).save_pretrained(folder)
        theirs = load_file(Path(folder) / "model.safetensors")
    return {item.name: item.read() for item in plan_export(ours)}, theirs


@pytest.mark.parametrize("case", DRAWN.values(), ids=DRAWN)
def test_every_family_draws_its_first_weights_as_transformers_does(case):
    """Means and deviations, tensor by tensor, within five standard errors of each."""
    ours, theirs = both(getattr(transformers, case.config)(**case.settings))
    theirs = {name: x for name, x in theirs.items() if not re.search(case.derived, name)}
    assert set(theirs) <= set(ours)
    for name, their in theirs.items():
        our, their = ours[name].double(), their.double()
        std = max(our.std(correction=0).item(), their.std(correction=0).item())
        error = 10 * std / our.numel() ** 0.5 + 1e-6
        assert our.mean().item() == pytest.approx(their.mean().item(), abs=error), name
        spread = their.std(correction=0).item()
        assert our.std(correction=0).item() == pytest.approx(spread, abs=error), name


def test_sinks_are_drawn_as_matrices_are():
    heads = {"num_attention_heads": 256, "num_key_value_heads": 2, "head_dim": 2}
    made = transformers.GptOssConfig(**DRAWN["GptOssConfig"].settings | heads)
    ours, theirs = both(made)
    name = "model.layers.0.self_attn.sinks"
    assert theirs[name].std().item() == pytest.approx(made.initializer_range, rel=0.2)
    assert ours[name].std().item() == pytest.approx(made.initializer_range, rel=0.2)


STATE = {"num_hidden_layers": 3, "hidden_size": 64, "vocab_size": 300}


@pytest.mark.parametrize(
    ("made", "fixed"),
    [
        (transformers.MambaConfig(**STATE), ("A_log", "mixer.D")),
        (
            transformers.Mamba2Config(**STATE, num_heads=8, head_dim=16, n_groups=2, state_size=8),
            ("A_log", "mixer.D"),
        ),
        (
            transformers.RwkvConfig(**STATE, attention_hidden_size=96, intermediate_size=128),
            ("time_decay", "time_first", "time_mix_key", "time_mix_value", "time_mix_receptance"),
        ),
    ],
    ids=["mamba", "mamba2", "rwkv"],
)
def test_what_a_recurrent_family_does_not_draw_is_equal_in_every_layer(made, fixed):
    ours, theirs = both(made)
    names = [name for name in theirs if name.endswith(fixed)]
    assert len(names) >= 3 * len(fixed)
    for name in names:
        torch.testing.assert_close(ours[name], theirs[name])


@pytest.mark.parametrize("kind", ["mamba", "mamba2"])
def test_new_steps_lie_in_the_configs_range_and_in_no_order(kind):
    keys = {"time_step_min": 0.01, "time_step_max": 0.2, "hidden_size": 256, "num_hidden_layers": 1}
    heads = {"num_heads": 128, "head_dim": 4} if kind == "mamba2" else {}
    settings = {"model_type": kind, "vocab_size": 32, "pad_token_id": None, **keys, **heads}
    weights = initialize(build(config_from_recipe(settings)), 0).state_dict()
    leaf = "dt_bias" if kind == "mamba2" else "dt_proj.bias"
    step = torch.nn.functional.softplus(weights[f"backbone.layers.0.mixer.{leaf}"]).log()
    assert -4.61 < step.min() < -4.2 and -2.0 < step.max() < -1.60
    order = torch.arange(len(step)).double()
    assert torch.corrcoef(torch.stack([order, step.double()]))[0, 1].abs() < 0.3


@pytest.mark.parametrize(
    ("keys", "leaf", "expected"),
    [
        ({"time_step_init_scheme": "constant", "time_step_rank": 4}, "dt_proj.weight", 0.5),
        ({"time_step_rank": 4, "time_step_scale": 3.0}, "dt_proj.weight", 1.5),
        ({"rescale_prenorm_residual": True}, "out_proj.weight", 1 / (128 * 4) ** 0.5),
        ({"conv_kernel": 16}, "conv1d.weight", 0.25),
    ],
)
def test_every_key_of_mambas_first_weights_has_its_effect(keys, leaf, expected):
    settings = {"model_type": "mamba", "vocab_size": 32, "pad_token_id": None, "hidden_size": 64}
    made = config_from_recipe({**settings, "num_hidden_layers": 4, **keys})
    weights = initialize(build(made), 0).state_dict()
    largest = weights[f"backbone.layers.0.mixer.{leaf}"].abs().max().item()
    assert largest == pytest.approx(expected, rel=0.02) and largest <= expected + 1e-6


def test_rwkvs_matrices_are_orthogonal():
    settings = {"model_type": "rwkv", "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}
    weights = initialize(build(config_from_recipe(settings)), 0).state_dict()
    square, wide = (
        weights[f"rwkv.blocks.0.{name}.weight"] for name in ("attention.key", "feed_forward.key")
    )
    torch.testing.assert_close(square @ square.t(), torch.eye(32), atol=1e-5, rtol=0)
    torch.testing.assert_close(wide.t() @ wide, 4 * torch.eye(32), atol=1e-5, rtol=0)
    assert weights["rwkv.embeddings.weight"].abs().max() < 1e-3
