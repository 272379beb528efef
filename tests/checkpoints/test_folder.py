"""Hugging Face folders: written by us and read by transformers, written by it and read by us."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.checkpoints.models import BERT, GPT2, LLAMA, tiny, tokens
from tfcli.checkpoints.beside import copy_companions, load_generation_config
from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model, open_model, save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import ModelError, UsageError, WorkError

AUTO = {
    "llama": transformers.AutoModelForCausalLM,
    "gpt2": transformers.AutoModelForCausalLM,
    "bert": transformers.AutoModelForMaskedLM,
}


def in_transformers(folder: Path, model_type: str = "llama", **options: Any) -> Any:
    """The folder as transformers loads it, with nothing missing, surplus or of another shape."""
    model, info = AUTO[model_type].from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info.values()), info
    return model.eval()


@pytest.mark.interop
@pytest.mark.parametrize("settings", [LLAMA, GPT2, BERT], ids=lambda s: s["model_type"])
@pytest.mark.parametrize("shard_bytes", [10**9, 10_000], ids=["single", "sharded"])
def test_what_we_write_gives_the_same_logits_everywhere(
    tmp_path: Path, settings: dict[str, Any], shard_bytes: int
) -> None:
    model = tiny(settings)
    files = save_model(model, tmp_path, max_shard_bytes=shard_bytes)
    assert (len(files) > 1) == (shard_bytes < 10**9)
    theirs = in_transformers(tmp_path, settings["model_type"])
    ours = load_model(tmp_path, task=None)
    with torch.no_grad():
        expected = model(tokens()).logits
        assert torch.equal(ours(tokens()).logits, expected)
        assert torch.allclose(theirs(tokens()).logits, expected, atol=1e-5)


@pytest.mark.interop
@pytest.mark.parametrize("settings", [LLAMA, GPT2, BERT], ids=lambda s: s["model_type"])
def test_what_transformers_writes_loads_here(tmp_path: Path, settings: dict[str, Any]) -> None:
    config = transformers.AutoConfig.for_model(**settings)
    theirs = AUTO[settings["model_type"]].from_config(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    ours = load_model(tmp_path, task=None)
    with torch.no_grad():
        assert torch.allclose(ours(tokens()).logits, theirs(tokens()).logits, atol=1e-5)


@pytest.mark.interop
def test_a_tied_pair_is_written_once_and_a_diverged_one_untied(tmp_path: Path) -> None:
    model = tiny(tie_word_embeddings=True)
    save_model(model, tmp_path / "tied")
    assert "lm_head.weight" not in open_tensors(tmp_path / "tied")
    assert open_model(tmp_path / "tied").model_config.tie_word_embeddings is True

    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight * 2)
    save_model(model, tmp_path / "apart")
    assert "lm_head.weight" in open_tensors(tmp_path / "apart")
    assert open_model(tmp_path / "apart").model_config.tie_word_embeddings is False
    theirs = in_transformers(tmp_path / "apart")
    with torch.no_grad():
        expected = model(tokens()).logits
        assert torch.allclose(theirs(tokens()).logits, expected, atol=1e-5)


@pytest.mark.interop
def test_another_dtype_on_the_way_out(tmp_path: Path) -> None:
    model = tiny()
    save_model(model, tmp_path, dtype=torch.bfloat16)
    assert {info.dtype for info in open_tensors(tmp_path).infos()} == {"BF16"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"
    assert in_transformers(tmp_path).dtype == torch.bfloat16
    assert model.dtype == torch.float32


def test_weights_of_the_right_dtype_are_not_copied(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    checkpoint, read = open_checkpoint(tmp_path), {}
    for name, tensor in checkpoint.tensors.items():

        def noted(name: str = name, tensor: TensorEntry = tensor) -> torch.Tensor:
            read[name] = tensor.read()
            return read[name]

        checkpoint.tensors[name] = replace(tensor, read=noted)
    model = load_model(checkpoint)
    assert {p.data_ptr() for p in model.parameters()} == {t.data_ptr() for t in read.values()}


def test_dtype_and_task_on_the_way_in(tmp_path: Path) -> None:
    save_model(tiny(BERT), tmp_path)
    model = load_model(
        tmp_path, task="sequence-classification", dtype=torch.bfloat16, new_head=True
    )
    assert model.task == "sequence-classification"
    assert model.dtype == torch.bfloat16
    assert not model.training


def test_a_model_may_be_saved_over_the_folder_it_was_read_from(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    model = load_model(tmp_path)
    with torch.no_grad():
        before = model(tokens()).logits
    save_model(model, tmp_path, tokenizer_from=tmp_path)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(tokens()).logits, before)


def test_companions_and_the_generation_config_go_along(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "model.py"):
        (source / name).write_text("{}")
    save_model(tiny(), target, tokenizer_from=source, generation_config={"eos_token_id": 3})
    assert {path.name for path in target.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert load_generation_config(target) == {"eos_token_id": 3}
    assert load_generation_config(tmp_path) == {}


def test_companions_that_lead_elsewhere(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    (tmp_path / "secret").write_text("s")
    (source / "tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(WorkError, match="outside its folder"):
        copy_companions(source, target)
    (source / "tokenizer.json").unlink()
    (source / "tokenizer.json").symlink_to("gone")
    with pytest.raises(WorkError, match="link to nothing"):
        copy_companions(source, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "lama"}, "unknown model_type 'lama'"),
        ({"hidden_act": "swiglu"}, "hidden_act='swiglu'"),
        ({"vocab_size": "61"}, "vocab_size must be int"),
        ({"hidden_size": 64}, "has shape [61, 32], the config asks for [61, 64]"),
        ({"num_hidden_layers": 3}, "lacks model.layers.2"),
        ({"num_hidden_layers": 1}, "which the model has no place for"),
    ],
)
def test_a_config_that_does_not_fit(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    save_model(tiny(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError) as error:
        load_model(tmp_path)
    assert says in error.value.what
    assert str(tmp_path) in str(error.value.where)


def test_weights_of_another_kind(tmp_path: Path) -> None:
    from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors

    save_model(tiny(), tmp_path)
    source = open_tensors(tmp_path)
    tensors = [PendingTensor.of(name, source[name]) for name in source if "norm" not in name]
    norms = [PendingTensor.of(n, source[n].to(torch.int32)) for n in source if "norm" in n]
    write_safetensors(tmp_path / "model.safetensors", [*tensors, *norms])
    with pytest.raises(ModelError, match="is int32, the model needs a float dtype"):
        load_model(tmp_path)


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        load_model(tmp_path / "gone")
    with pytest.raises(WorkError, match=r"has no config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"a": 1, "a": 2}')
    with pytest.raises(WorkError, match="'a' stands twice"):
        load_model(tmp_path)
