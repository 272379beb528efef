"""`tfcli merge` of adapters with a resized vocabulary or another task's head, as PEFT runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from tests.checkpoints.models import BERT, GPT2, LLAMA, tokens
from tests.merge.adapters import base_folder, by_hand, merge
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import WorkError

Q = "model.layers.0.self_attn.q_proj"


def trained(
    model: transformers.PreTrainedModel, folder: Path, config: peft.PeftConfig
) -> peft.PeftModel:
    """The model with an adapter whose values are random, saved."""
    model = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return model.eval()


SAVED: dict[str, Any] = {"modules_to_save": ["embed_tokens", "lm_head"]}


@pytest.mark.parametrize(
    ("size", "tied", "options"),
    [
        (70, False, {"target_modules": ["q_proj"], **SAVED}),
        (50, True, {"target_modules": ["q_proj"], **SAVED}),
        (50, False, {"target_modules": ["q_proj"]}),
        (70, True, {"target_modules": ["q_proj"]}),
        (70, True, {"target_modules": ["q_proj", "embed_tokens"]}),
    ],
    ids=["saved", "saved, tied", "resized alone", "resized alone, tied", "lora on the tied table"],
)
def test_a_vocabulary_that_was_resized_for_the_adapter_is_the_result_s(
    tmp_path: Path, size: int, tied: bool, options: dict[str, Any]
) -> None:
    base = base_folder(tmp_path / "base", tie_word_embeddings=tied)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(size)
    settings = peft.LoraConfig(r=2, task_type="CAUSAL_LM", **options)
    model = trained(model, tmp_path / "adapter", settings)

    result = merge(base, tmp_path / "adapter", tmp_path / "out", verify="logits")

    assert result.vocabulary == size
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] == size
    merged, account = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not account["missing_keys"] and not account["mismatched_keys"]
    ids = tokens() % 50
    with torch.no_grad():
        assert torch.allclose(merged.eval()(ids).logits, model(ids).logits, atol=2e-4)


TASKS = {"SEQ_CLS": "sequence-classification", "TOKEN_CLS": "token-classification"}


def test_half_of_a_resized_vocabulary_is_refused_with_what_helps(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    adapter = by_hand(tmp_path / "adapter", {"model.embed_tokens.weight": torch.ones(70, 32)})
    with pytest.raises(WorkError, match=r"to 70, and holds no \'lm_head\.weight\'") as error:
        merge(base, adapter, tmp_path / "out")
    assert "modules_to_save" in str(error.value.fix)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("settings", "kind", "task", "options"),
    [
        (LLAMA, "SequenceClassification", "SEQ_CLS", {"target_modules": ["q_proj"]}),
        (GPT2, "SequenceClassification", "SEQ_CLS", {"target_modules": ["c_attn"]}),
        (LLAMA, "TokenClassification", "TOKEN_CLS", {"target_modules": ["v_proj"]}),
        (BERT, "TokenClassification", "TOKEN_CLS", {"target_modules": ["query"]}),
        (
            BERT,
            "SequenceClassification",
            "SEQ_CLS",
            {"target_modules": ["query"], "modules_to_save": ["classifier", "pooler"]},
        ),
    ],
    ids=["llama", "gpt2", "llama tokens", "bert tokens", "bert"],
)
def test_a_head_of_another_task_makes_a_model_for_that_task(
    tmp_path: Path, settings: dict[str, Any], kind: str, task: str, options: dict[str, Any]
) -> None:
    base = base_folder(tmp_path / "base", settings)
    loader = getattr(transformers, f"AutoModelFor{kind}")
    model = loader.from_pretrained(base, num_labels=5)
    model.config.pad_token_id = 0
    config = peft.LoraConfig(r=2, task_type=task, **options)
    model = trained(model, tmp_path / "adapter", config)

    result = merge(base, tmp_path / "adapter", tmp_path / "out")

    assert result.task == TASKS[task]
    assert result.left_out or settings is GPT2  # its head shares the token table
    merged, account = loader.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not account["missing_keys"] and not account["unexpected_keys"]
    assert merged.config.num_labels == 5
    merged.config.pad_token_id = 0
    ids = 1 + tokens() % 59
    with torch.no_grad():
        assert torch.allclose(merged.eval()(ids).logits, model(ids).logits, atol=1e-4)


def test_of_heads_that_fit_the_one_that_is_all_there_is_made(tmp_path: Path) -> None:
    """Of an adapter that does not say its task, and whose base has no pooler."""
    base = base_folder(tmp_path / "base", BERT, architectures=["BertForMaskedLM"])
    model = transformers.AutoModelForTokenClassification.from_pretrained(base, num_labels=5)
    config = peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=["classifier"])
    trained(model, tmp_path / "adapter", config)
    result = merge(base, tmp_path / "adapter", tmp_path / "out", verify="logits")
    assert result.task == "token-classification"


def test_a_head_whose_rest_is_nowhere_is_refused(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", BERT)
    head = {"classifier.weight": torch.ones(3, 32), "classifier.bias": torch.ones(3)}
    adapter = by_hand(tmp_path / "adapter", head, task_type="SEQ_CLS")
    with pytest.raises(WorkError, match=r"pooler.* neither in the base nor") as error:
        merge(base, adapter, tmp_path / "out")
    assert "modules_to_save" in str(error.value.fix)


@pytest.mark.parametrize("name", ["default", "my-adapter"])
def test_an_adapter_s_own_name_in_its_keys_and_wrappers_change_nothing(
    tmp_path: Path, name: str
) -> None:
    base = base_folder(tmp_path / "base")
    factors = {"A": torch.full((2, 32), 0.5), "B": torch.ones(32, 2)}
    norm = torch.full((32,), 3.0)
    plain = {f"{Q}.lora_{k}.weight": v for k, v in factors.items()} | {"model.norm.weight": norm}
    merge(base, by_hand(tmp_path / "plain", plain), tmp_path / "a")
    named = {f"{Q}.lora_{k}.{name}.weight": v for k, v in factors.items()} | {
        f"_orig_mod.model.norm.modules_to_save.{name}.weight": norm,
        "model.norm.original_module.weight": torch.ones(32),
    }
    merge(base, by_hand(tmp_path / "named", named), tmp_path / "b")
    wanted, found = open_tensors(tmp_path / "a"), open_tensors(tmp_path / "b")
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    two = {**named, f"{Q}.lora_A.other.weight": factors["A"]}
    with pytest.raises(WorkError, match="are the same part") as error:
        merge(base, by_hand(tmp_path / "two", two), tmp_path / "c")
    assert "save one adapter alone" in str(error.value.fix)


def test_advice_names_the_base_only_where_another_base_would_help(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    lost = {"model.layers.9.mlp.up_proj.lora_A.weight": torch.ones(2, 32)}
    lost |= {"model.layers.9.mlp.up_proj.lora_B.weight": torch.ones(48, 2)}
    named = by_hand(tmp_path / "a", lost, base_model_name_or_path="org/other")
    with pytest.raises(WorkError) as error:
        merge(base, named, tmp_path / "x")
    assert "the adapter names 'org/other'" in str(error.value.fix)
    with pytest.raises(WorkError) as error:
        merge(base, by_hand(tmp_path / "b", {f"{Q}.oft_R": torch.ones(2)}), tmp_path / "y")
    assert "let PEFT merge it" in str(error.value.fix)
