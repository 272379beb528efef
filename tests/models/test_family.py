"""What the registry makes of the classes that a config.json names, and of its order of tokens."""

from __future__ import annotations

import dataclasses

import pytest

from tests.models.tiny import content
from tfcli.models.errors import ModelError
from tfcli.models.loading import build
from tfcli.models.registry import FAMILIES, get_family, read_config, register

every_family = pytest.mark.parametrize("model_type", FAMILIES)


@every_family
def test_each_class_of_a_family_is_loaded_as_its_task(model_type):
    family = FAMILIES[model_type]
    for task, name in family.names.items():
        assert family.task_of([name]) == task
    for name, task in family.aliases.items():
        assert family.task_of(["Unheard", name]) == task
    assert family.task_of(None) == family.task_of([]) == next(iter(family.heads))


@every_family
def test_a_class_that_is_not_known_needs_a_task(model_type):
    config = read_config({**content(model_type), "architectures": ["FancyForEverything"]})
    with pytest.raises(ModelError, match="'FancyForEverything' is no class") as error:
        build(config)
    names = get_family(model_type).names
    assert all(name in error.value.fix for name in names.values())
    assert error.value.where == "config.json, key architectures"
    for task in names:
        assert build(config, task).task == task


def test_a_part_of_other_models_is_no_model_by_itself():
    with pytest.raises(ModelError, match="t5_gemma_module is a part of other models"):
        build(read_config({"model_type": "t5_gemma_module"}))


def test_the_name_of_a_part_is_taken():
    with pytest.raises(ModelError, match="there is a family 't5_gemma_module'"):
        register(dataclasses.replace(get_family("llama"), model_type="t5_gemma_module"))


def test_the_nearest_class_is_named():
    with pytest.raises(ModelError, match="did you mean 'LlamaForCausalLM'"):
        get_family("llama").task_of(["LlamaForCasualLM"])


@pytest.mark.parametrize("entry", [{}, [], 3, None])
def test_an_entry_that_is_no_name_is_no_class(entry):
    with pytest.raises(ModelError, match="is no class of llama"):
        get_family("llama").task_of([entry])


def test_base_models_give_vectors():
    for name, model_type in (("BertModel", "bert"), ("LlamaModel", "llama"), ("BartModel", "bart")):
        assert get_family(model_type).task_of([name]) == "embedding"


@every_family
def test_a_decoder_without_its_causal_mask_is_refused(model_type):
    """transformers 5 looks at the key where it makes causal masks, and not in encoders."""
    data = content(model_type)
    for value in (True, None):
        read_config({**data, "is_causal": value})
    if FAMILIES[model_type].kind not in ("decoder", "encoder-decoder"):
        read_config({**data, "is_causal": False})
        return
    with pytest.raises(ModelError, match=f"is_causal=False is not supported for {model_type}"):
        read_config({**data, "is_causal": False})
