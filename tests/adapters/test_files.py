"""Adapters in files: every tensor is accounted for, and a folder opens as a model."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import make_tiny_llama
from tests.merge.adapters import merge
from tfcli.adapters.read import read_adapter
from tfcli.adapters.write import save_adapter
from tfcli.checkpoints.folder import load_model, open_base, open_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import UsageError, WorkError
from tfcli.models.adapters.attach import add_adapter
from tfcli.models.adapters.settings import AdapterSettings
from tfcli.recipe.content import look

IDS = torch.tensor([[3, 14, 15, 9, 26, 5]])
UP = "base_model.model.model.layers.0.mlp.up_proj"


def answer(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture
def adapter(tiny_llama, tmp_path) -> Path:
    """The folder of an adapter whose second factors are not zero."""
    model = load_model(tiny_llama)
    add_adapter(model, AdapterSettings(rank=2, target_modules=("up_proj",)))
    for name, parameter in model.named_parameters():
        if name.endswith("lora_B.weight"):
            parameter.data.fill_(0.1)
    save_adapter(model, tmp_path / "adapter", base=str(tiny_llama))
    return tmp_path / "adapter"


def rewrite(folder: Path, change) -> Path:
    """The folder with other tensors: `change` is given them by name."""
    source = open_tensors(folder / "adapter_model.safetensors")
    tensors = {name: source[name] for name in source}
    change(tensors)
    pending = [PendingTensor.of(name, tensor) for name, tensor in tensors.items()]
    write_safetensors(folder / "adapter_model.safetensors", pending)
    return folder


def reconfigure(folder: Path, **changes) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_the_files_are_those_of_peft(adapter):
    assert {path.name for path in adapter.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert set(open_tensors(adapter / "adapter_model.safetensors")) == {
        f"base_model.model.model.layers.{layer}.mlp.up_proj.lora_{factor}.weight"
        for layer in (0, 1)
        for factor in "AB"
    }
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["task_type"] == "CAUSAL_LM"
    assert (config["r"], config["lora_alpha"]) == (2, 16)
    assert config["target_modules"] == ["up_proj"]


@pytest.mark.parametrize("kind", ["mixtral", "granitemoe"])
def test_experts_come_back_and_are_merged_each_for_itself(kind, tmp_path, tiny_tokenizer):
    """Granite's checkpoints keep all experts of a layer in one stack."""
    sizes = {"num_local_experts": 3, "num_experts_per_tok": 2}
    base = make_tiny_llama(tmp_path / "base", tiny_tokenizer, model_type=kind, **sizes)
    model = load_model(base)
    plain = answer(model)
    changed = add_adapter(model, AdapterSettings(rank=2))
    assert sum(".experts." in path for path in changed) >= 2 * 3 * 2
    for name, parameter in model.named_parameters():
        if name.endswith("lora_B.weight"):
            parameter.data.normal_(0, 0.1)
    save_adapter(model, tmp_path / "adapter", base=str(base))
    assert (answer(model) - plain).abs().max() > 1e-2
    assert torch.equal(answer(load_model(tmp_path / "adapter")), answer(model))
    merged = merge(base, tmp_path / "adapter", tmp_path / "merged")
    assert merged.adapter_tensors == 2 * len(changed)
    torch.testing.assert_close(
        answer(load_model(tmp_path / "merged")), answer(model), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(f"{UP}.lora_B.weight"), "has not both factors"),
        (lambda t: t.update({f"{UP}.lora_E": torch.ones(2)}), "is no tensor of LoRA"),
        (
            lambda t: t.update(
                {
                    f"{UP.replace('model.layers', 'layers')}.lora_{f}.weight": torch.ones(2)
                    for f in "AB"
                }
            ),
            "model.layers.0.mlp.up_proj is changed by two of it",
        ),
        (
            lambda t: t.update({f"{UP}.lora_A.weight": torch.ones(3, 64)}),
            "its rank is 3, and the config says 2",
        ),
        (
            lambda t: t.update({f"{UP.replace('up', 'in')}.lora_A.weight": torch.ones(2, 64)}),
            "the model has no module model.layers.0.mlp.in_proj",
        ),
        (
            lambda t: t.update({f"{UP}.lora_A.weight": torch.ones(2, 63)}),
            "it is [2, 63], and model.layers.0.mlp.up_proj needs [2, 64]",
        ),
        (
            lambda t: t.update({"base_model.model.model.norm.weight": torch.ones(64)}),
            "modules_to_save does not name model.norm",
        ),
        (
            lambda t: t.update({"base_model.model.lm_head.weight": torch.ones(9, 64)}),
            "it is [9, 64], and the model has [320, 64] there",
        ),
    ],
)
def test_a_tensor_that_belongs_to_nothing_is_an_error_that_names_it(
    adapter, tiny_llama, change, said
):
    with pytest.raises(WorkError) as error:
        read_adapter(load_model(tiny_llama), rewrite(adapter, change))
    assert said in str(error.value)


def test_a_pickle_is_refused_with_the_way_out(adapter, tiny_llama):
    source = open_tensors(adapter / "adapter_model.safetensors")
    torch.save({name: source[name] for name in source}, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"adapter_model\.bin is a pickle.*save_pretrained"):
        read_adapter(load_model(tiny_llama), adapter)


def test_an_adapter_of_two_tied_modules_at_once_is_only_merged(tiny_llama, tmp_path):
    model = load_model(tiny_llama)
    add_adapter(model, AdapterSettings(rank=2, target_modules=("embed_tokens",)))
    save_adapter(model, tmp_path / "tied", base=str(tiny_llama))
    read_adapter(load_model(tiny_llama), tmp_path / "tied")
    tied = reconfigure(tmp_path / "tied", ensure_weight_tying=True)
    with pytest.raises(UsageError, match=r"of model\.embed_tokens and of lm_head") as error:
        read_adapter(load_model(tiny_llama), tied)
    assert "tfcli merge" in error.value.fix


def test_a_setting_that_is_not_built_is_refused(adapter, tiny_llama):
    with pytest.raises(WorkError, match="velora_config"):
        read_adapter(load_model(tiny_llama), reconfigure(adapter, velora_config={"scale": 1.0}))


def test_a_folder_opens_as_its_base_with_the_adapter_on_it(adapter, tiny_llama):
    base = load_model(tiny_llama)
    plain = answer(base)
    read_adapter(base, adapter)
    opened = open_model(adapter)
    assert opened.adapter == adapter
    assert opened.notes == (f"the adapter adapter runs on its base {tiny_llama.name}",)
    assert torch.equal(answer(load_model(opened)), answer(base))
    assert not torch.equal(answer(base), plain)
    assert (opened.beside / "tokenizer.json").exists()


def test_the_base_is_found_from_here_and_from_the_adapters_folder(
    adapter, tiny_llama, tmp_path, monkeypatch
):
    expected = answer(load_model(open_model(adapter)))
    shutil.copytree(tiny_llama, tmp_path / "near")
    reconfigure(adapter, base_model_name_or_path="../near")
    monkeypatch.chdir("/")
    assert torch.equal(answer(load_model(open_model(adapter))), expected)
    monkeypatch.chdir(tmp_path)
    reconfigure(adapter, base_model_name_or_path="near")
    assert torch.equal(answer(load_model(open_model(adapter))), expected)


def test_what_is_hashed_of_an_adapter_is_its_base_too(adapter, tiny_llama, tmp_path):
    shutil.copytree(tiny_llama, tmp_path / "base")
    reconfigure(adapter, base_model_name_or_path=str(tmp_path / "base"))
    before = look(adapter, ["model"]).digest()
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text() + " ")
    os.utime(config, (1, 1))
    assert look(adapter, ["model"]).digest() != before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_model_name_or_path": None}, "does not name the model"),
        ({"base_model_name_or_path": "/no/where/at/all"}, "is not here"),
        ({"base_model_name_or_path": "../adapter"}, "is an adapter too"),
    ],
)
def test_a_base_that_cannot_be_found_is_an_error_that_says_where_to_put_it(adapter, changes, said):
    with pytest.raises(UsageError, match=said) as error:
        open_model(reconfigure(adapter, **changes))
    assert str(adapter / "adapter_config.json") in str(error.value.where)


def test_what_changes_weights_refuses_an_adapter_and_names_merge(adapter):
    with pytest.raises(UsageError, match="tfcli merge BASE ADAPTER OUTPUT"):
        open_base(adapter)
