"""Files of the repositories that models first came from, built here by hand as those have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.models.tiny import content
from tfcli.checkpoints.container import Reading, WriteOptions
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.original.container import ORIGINAL
from tfcli.checkpoints.original.mllama_text import MLLAMA_TEXT
from tfcli.checkpoints.original.read import DIALECTS
from tfcli.checkpoints.original.write import write_original
from tfcli.checkpoints.plan import make_plan
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute

IDS = torch.arange(2, 12)[None]
GEMMAS = ["gemma", "gemma2", "gemma3_text"]


def tiny(model_type: str) -> transformers.PreTrainedModel:
    """transformers' model with random weights, norms too."""
    config = transformers.AutoConfig.for_model(**content(model_type))
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def google(model: transformers.PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights as Google's code for Gemma has them."""
    found = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    state = {"embedder.weight": found.pop("model.embed_tokens.weight")}
    for layer in range(model.config.num_hidden_layers):
        at = f"model.layers.{layer}.self_attn."
        parts = [found.pop(f"{at}{part}_proj.weight") for part in "qkv"]
        state[f"{at}qkv_proj.weight"] = torch.cat(parts)
        for part, long in (("q", "query"), ("k", "key")):
            if f"{at}{part}_norm.weight" in found:
                state[f"{at}{long}_norm.weight"] = found.pop(f"{at}{part}_norm.weight")
    return state | found


def angles(model_type: str) -> dict[str, torch.Tensor]:
    turn = torch.polar(torch.ones(4, 2), torch.ones(4, 2))
    prefixes = ("local_", "global_") if model_type == "gemma3_text" else ("",)
    return {f"{prefix}freqs_cis": turn for prefix in prefixes}


def save_google(model: transformers.PreTrainedModel, path: Path, *, sharded: bool = False) -> Path:
    path.mkdir()
    kind = model.config.model_type
    (path / "config.json").write_text(json.dumps(content(kind)))
    state = google(model) | angles(kind)
    if not sharded:
        torch.save({"model_state_dict": state}, path / "model.ckpt")
        return path
    homes = {name: f"pytorch_model-{n % 2}.bin" for n, name in enumerate(state)}
    for file in sorted(set(homes.values())):
        torch.save({n: state[n] for n, home in homes.items() if home == file}, path / file)
    (path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": homes}))
    return path


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


@pytest.mark.interop
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("model_type", GEMMAS)
def test_gemma_answers_as_it_did(tmp_path, model_type, sharded):
    model = tiny(model_type)
    source = save_google(model, tmp_path / "in", sharded=sharded)
    assert find_container(source).name == "original"
    result = convert(source, tmp_path / "out")
    assert result.kind == "original" and result.unused.keys() == angles(model_type).keys()
    assert result.verified == len(result.tensors)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values())
    with torch.no_grad():
        assert torch.equal(theirs(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("model_type", GEMMAS)
def test_gemma_there_and_back(tmp_path, model_type):
    model = tiny(model_type)
    convert(save_google(model, tmp_path / "in"), tmp_path / "hf")
    (tmp_path / "back").mkdir()
    dialect = next(one for one in DIALECTS if one.name == model_type)
    plan = make_plan(open_checkpoint(tmp_path / "hf"), None)
    options = WriteOptions(10_000) if model_type == "gemma" else None
    files = write_original(plan, tmp_path / "back", dialect, options)
    assert (len(files) > 1) == (model_type == "gemma")
    back, wanted = open_tensors(tmp_path / "back"), google(model)
    assert set(back) == set(wanted)
    assert all(torch.equal(back[name], value) for name, value in wanted.items())
    again = open_checkpoint(tmp_path / "back", Reading(tmp_path / "hf"))
    assert again.container == "original" and again.tensors.keys() == plan.view.tensors.keys()


def test_a_file_and_the_config_of_another_folder(tmp_path):
    source = save_google(tiny("gemma2"), tmp_path / "in")
    (tmp_path / "other").mkdir()
    (source / "config.json").rename(tmp_path / "other/config.json")
    with pytest.raises(WorkError, match=r"has a config\.json"):
        open_checkpoint(source)
    view = open_checkpoint(source / "model.ckpt", Reading(tmp_path / "other"))
    assert view.container == "original" and view.config["model_type"] == "gemma2"
    result = convert(source / "model.ckpt", tmp_path / "out", config_from=str(tmp_path / "other"))
    assert result.verified == len(result.tensors) and (tmp_path / "out/config.json").is_file()


def test_config_of_another_family_or_size(tmp_path):
    source = save_google(tiny("gemma2"), tmp_path / "in")
    path = source / "config.json"
    path.write_text(json.dumps(content("gemma2", num_hidden_layers=1)))
    with pytest.raises(WorkError, match=r"gemma2: no rule for 'model\.layers\.1\..* more"):
        open_checkpoint(source)
    path.write_text(json.dumps(content("gemma2", num_hidden_layers=5)))
    with pytest.raises(WorkError, match=r"gemma2: missing: 'model\.layers\.3\.self_attn\.qkv_proj"):
        open_checkpoint(source)
    path.write_text(json.dumps(content("gemma2", num_key_value_heads=1)))
    with pytest.raises(WorkError, match="dimension 0 should be"):
        open_checkpoint(source)
    path.write_text(json.dumps(content("gemma")))
    with pytest.raises(WorkError, match="weights are those of gemma2, the config"):
        open_checkpoint(source)


PARAMS = {
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "multiple_of": 16,
    "norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "use_scaled_rope": True,
    "vocab_size": 64,
    "vision_chunk_size": 28,
    "vision_num_cross_attention_layers": 2,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "pad_token_id": 4,
    "cross_attention_layers": [0, 3],
}


def mllama() -> dict[str, torch.Tensor]:
    """The weights of transformers' language model, by the names of its files."""
    config = transformers.models.mllama.configuration_mllama.MllamaTextConfig(**TEXT)
    torch.manual_seed(0)
    model = transformers.MllamaForCausalLM(config)
    state = {}
    for name, value in model.state_dict().items():
        state[f"language_model.{name}"] = torch.randn(value.shape)
    return state


def meta(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same as Meta's code has it: rotary pairs beside each other, two lists of layers."""
    body = {name.removeprefix("language_model.model."): value for name, value in state.items()}
    rows = body["embed_tokens.weight"]
    found = {
        "tok_embeddings.weight": rows[:64],
        "learnable_embedding.weight": rows[64:],
        "norm.weight": body["norm.weight"],
        "output.weight": body["language_model.lm_head.weight"],
        "rope.freqs": torch.ones(4),
    }
    norms = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    mlp = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    for stored, layer, attention in (
        ("layers.0", 1, "self_attn"),
        ("layers.1", 2, "self_attn"),
        ("layers.2", 4, "self_attn"),
        ("cross_attention_layers.0", 0, "cross_attn"),
        ("cross_attention_layers.1", 3, "cross_attn"),
    ):
        for part in "qkvo":
            value = body[f"layers.{layer}.{attention}.{part}_proj.weight"]
            if part in "qk" and attention == "self_attn":
                order = [0, 4, 1, 5, 2, 6, 3, 7]  # value n and n + 4 of a head turn together
                heads = value.reshape(-1, 8, 32)
                value = heads[:, order].reshape(value.shape)
            found[f"{stored}.attention.w{part}.weight"] = value
        for one, other in norms.items():
            found[f"{stored}.{one}.weight"] = body[f"layers.{layer}.{other}.weight"]
        for one, other in mlp.items():
            found[f"{stored}.feed_forward.{one}.weight"] = body[
                f"layers.{layer}.mlp.{other}.weight"
            ]
        if attention == "cross_attn":
            for part in "qk":
                value = body[f"layers.{layer}.cross_attn.{part}_norm.weight"]
                found[f"{stored}.attention.{part}_norm.weight"] = value
            found[f"{stored}.gate_attn"] = body[f"layers.{layer}.cross_attn_attn_gate"]
            found[f"{stored}.gate_ffwd"] = body[f"layers.{layer}.cross_attn_mlp_gate"]
    return {f"text_model.{name}": value for name, value in found.items()}


def save_meta(path: Path) -> Path:
    path.mkdir()
    image = {"vision_model.vision_encoder.class_embedding": torch.ones(4)}
    torch.save(meta(mllama()) | image, path / "consolidated.00.pth")
    (path / "params.json").write_text(json.dumps(PARAMS))
    return path


@pytest.mark.interop
def test_llama_vision_becomes_its_language_model(tmp_path):
    source = save_meta(tmp_path / "in")
    assert find_container(source).name == "original"
    result = convert(source, tmp_path / "out")
    assert result.unused.keys() == {
        "text_model.rope.freqs",
        "vision_model.vision_encoder.class_embedding",
    }
    found, wanted = open_tensors(tmp_path / "out"), mllama()
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    theirs, info = transformers.MllamaForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values())
    assert {key: getattr(theirs.config, key) for key in TEXT if key != "pad_token_id"} == {
        key: value for key, value in TEXT.items() if key != "pad_token_id"
    }
    assert theirs.config.rope_parameters["rope_type"] == "llama3"


def test_llama_vision_there_and_back(tmp_path):
    view = open_checkpoint(save_meta(tmp_path / "in"))
    back = MLLAMA_TEXT.from_hf(view.tensors, {"text_config": view.config})
    wanted = {name: value for name, value in meta(mllama()).items() if "rope" not in name}
    assert back.keys() == wanted.keys()
    assert all(torch.equal(back[name].read(), value) for name, value in wanted.items())
    assert {name: tensor.shape for name, tensor in back.items()} == {
        name: tuple(value.shape) for name, value in wanted.items()
    }


def test_layers_that_see_the_image_are_those_of_the_releases(tmp_path):
    from tfcli.checkpoints.original.mllama_text import config_of

    source = open_tensors(save_meta(tmp_path / "in") / "consolidated.00.pth")
    for layers, count, wanted in ((32, 8, range(3, 40, 5)), (80, 20, range(3, 100, 5))):
        changes = {"n_layers": layers, "vision_num_cross_attention_layers": count}
        config = config_of(PARAMS | changes, source, where="params.json")
        assert config["cross_attention_layers"] == list(wanted)
        assert config["num_hidden_layers"] == layers + count
    with pytest.raises(WorkError, match="vision_num_cross_attention_layers: 0 for 3 layers"):
        config_of(PARAMS | {"vision_num_cross_attention_layers": 0}, source, where="params.json")


def test_llama_vision_in_several_parts_and_with_a_config(tmp_path):
    source = save_meta(tmp_path / "in")
    with pytest.raises(UsageError, match=r"has a params\.json"):
        open_checkpoint(source, Reading(tmp_path))
    (source / "consolidated.01.pth").write_bytes((source / "consolidated.00.pth").read_bytes())
    with pytest.raises(WorkError, match="2 files consolidated"):
        ORIGINAL.read(source, Reading())


def test_other_folders_are_none(tmp_path):
    model = tiny("gemma2")
    model.save_pretrained(tmp_path / "hf")
    assert find_container(tmp_path / "hf").name == "hf"
    (tmp_path / "pt").mkdir()
    (tmp_path / "pt/config.json").write_text(json.dumps(content("gemma2")))
    torch.save(model.state_dict(), tmp_path / "pt/pytorch_model.bin")
    assert find_container(tmp_path / "pt").name == "hf"
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "hf" / name).rename(save_meta(tmp_path / name.split(".")[0]) / name)
    assert (
        find_container(tmp_path / "model").name == "hf"
        and find_container(tmp_path / "config").name == "original"
    )
