"""Weights that stay in fp32 among halves: in memory, in training's start and in what is saved."""

from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.tiny import content, tiny_model
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.models.saving import plan_export

IDS = torch.arange(4, 16).view(2, 6)
KEPT = {"t5": r".wo.weight", "mt5": ".wo.weight", "gpt_oss": "norm.weight"}


def kept(model, ending):
    return {p.dtype for name, p in model.named_parameters() if name.endswith(ending)}


def others(model, ending):
    return {p.dtype for name, p in model.named_parameters() if not name.endswith(ending)}


@pytest.fixture
def folder(tmp_path, request):
    save_model(tiny_model(request.param), tmp_path / "model")
    return request.param, tmp_path / "model"


@pytest.mark.parametrize("folder", KEPT, indirect=True)
def test_float16_computes_as_transformers_does(folder):
    model_type, path = folder
    ours = load_model(path, task=None, dtype=torch.float16)
    auto = transformers.AutoModelForCausalLM
    if model_type != "gpt_oss":
        auto = transformers.AutoModelForSeq2SeqLM
    theirs = auto.from_pretrained(path, dtype=torch.float16).eval()
    assert kept(ours, KEPT[model_type]) == kept(theirs, KEPT[model_type]) == {torch.float32}
    inputs = {"input_ids": IDS}
    if model_type != "gpt_oss":
        inputs["decoder_input_ids"] = IDS
    with torch.no_grad():
        mine, wanted = ours(**inputs).logits, theirs(**inputs).logits
    assert mine.dtype == wanted.dtype == torch.float16
    assert (mine.float() - wanted.float()).abs().max() < 2e-2 * wanted.float().std()


@pytest.mark.parametrize("folder", KEPT, indirect=True)
def test_only_the_type_that_the_rule_names(folder):
    _, path = folder
    whole = load_model(path, task=None, dtype=torch.bfloat16)
    assert {p.dtype for p in whole.parameters()} == {torch.bfloat16}


def test_what_a_conversion_kept_in_fp32_is_loaded_in_fp32(tmp_path):
    """Though most bytes may be in fp32 then, the model is of the others' type."""
    save_model(tiny_model("t5"), tmp_path / "model", dtype=torch.float16)
    model = load_model(tmp_path / "model", task=None)
    assert kept(model, ".wo.weight") == {torch.float32}
    assert others(model, ".wo.weight") == {torch.float16}
    assert model.dtype == torch.float16


def test_a_checkpoint_that_is_float16_throughout_computes_in_fp32_too(tmp_path):
    save_model(tiny_model("t5").half(), tmp_path / "model")
    model = load_model(tmp_path / "model", task=None)
    assert kept(model, ".wo.weight") == {torch.float32}
    assert others(model, ".wo.weight") == {torch.float16}


def test_new_weights_and_saved_ones():
    model = initialize(build(read_config(content("t5"))), dtype=torch.float16)
    assert kept(model, ".wo.weight") == {torch.float32}
    assert others(model, ".wo.weight") == {torch.float16}
    plan = plan_export(tiny_model("t5"), dtype=torch.float16)
    wide = [item.name for item in plan if item.dtype == torch.float32]
    assert wide and all(name.endswith(".wo.weight") for name in wide)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_quantized_linear_in_its_place_takes_the_input_as_it_is(dtype):
    """It has no weight whose type could be asked."""
    model = tiny_model("t5").to(dtype)
    mlp = model.transformer.encoder.block[0].layer[1].DenseReluDense
    seen = []
    mlp.wo = torch.nn.Identity()
    mlp.wo.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    mlp(torch.randn(1, 2, model.config.hidden_size, dtype=dtype))
    assert seen == [dtype]
