"""Parts that do not fit together are refused before a weight is read, with both sides named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import compose
from tfcli.checkpoints.io.file_tensor import FileTensor
from tfcli.compose.spec import ComposeSpec
from tfcli.errors import Problem, UsageError
from tfcli.recipe.validate import build_spec


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a tensor in the test fails."""

    def refused(*given: Any) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(FileTensor, "reading", refused)


def edited(folder: Path, target: Path, file: str = "config.json", **changes: Any) -> Path:
    """A copy of a folder with keys of a JSON file changed; None takes one out."""
    shutil.copytree(folder, target)
    values = json.loads((target / file).read_text()) | changes
    values = {key: value for key, value in values.items() if value is not None}
    (target / file).write_text(json.dumps(values))
    return target


def refuse(tmp_path: Path, llama: Path, vision: Any, message: str) -> Problem:
    with pytest.raises(Problem, match=message) as error:
        compose(tmp_path / "out", llama, {"vision": vision})
    assert list((tmp_path / "out").iterdir()) == []
    return error.value


def test_an_encoder_that_is_no_tower(llama, tmp_path, unread):
    error = refuse(tmp_path, llama, str(llama), "is no encoder of images.*llama reads text")
    assert error.where == "model.encoders.vision.model" and "clip_vision_model" in error.fix


def test_a_model_with_several_towers(llama, clip, tmp_path):
    compose(tmp_path / "both", llama, {"left": str(clip), "right": str(clip)})
    both = str(tmp_path / "both")
    refuse(tmp_path, llama, both, "several towers: left_encoder.module, right_encoder.module")


def test_a_language_model_without_its_head(llama, clip, tmp_path, unread):
    no_head = edited(llama, tmp_path / "llama", architectures=["LlamaModel"])
    error = refuse(
        tmp_path, no_head, str(clip), "no language-model head: it is llama for embedding"
    )
    assert error.where == "model.language_model" and "LlamaForCausalLM" in error.fix
    with pytest.raises(UsageError, match="it is clip_vision_model for embedding"):
        compose(tmp_path / "other", clip, {"vision": str(clip)})


def test_weights_without_the_head(llama, clip, tmp_path):
    """The config names a class with the head, and the weights have none."""
    from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
    from tfcli.checkpoints.hf.source import open_tensors

    shutil.copytree(llama, tmp_path / "llama")
    source = open_tensors(llama)
    kept = [PendingTensor.of(n, source[n]) for n in source if n != "lm_head.weight"]
    write_safetensors(tmp_path / "llama/model.safetensors", kept)
    refuse(tmp_path, tmp_path / "llama", str(clip), "the weights lack lm_head.weight")


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"feature_layer": 4}, "feature_layer", "is 4, but the encoder has 3 layers .*clip"),
        ({"feature_layer": -5}, "feature_layer", "is -5, but the encoder has 3 layers"),
        ({"projector": "mlp", "activation": "gelo"}, "activation", "'gelo' is not an activation"),
    ],
)
def test_settings_that_the_encoder_does_not_have(
    settings, key, message, llama, clip, tmp_path, unread
):
    error = refuse(tmp_path, llama, {"model": str(clip), **settings}, message)
    assert error.where == f"model.encoders.vision.{key}"


def test_images_of_another_size_than_the_tower_takes(llama, clip, tmp_path, unread):
    large = {"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 32}}
    other = edited(clip, tmp_path / "clip", "preprocessor_config.json", **large)
    message = r"CLIPImageProcessor\) gives pixel_values \[1, 3, 32, 32\].*takes 16 x 16"
    refuse(tmp_path, llama, str(other), message)


def test_no_settings_and_no_processor_of_the_family(llama, clip, tmp_path, unread, monkeypatch):
    from tfcli.compose import media

    monkeypatch.setattr(media, "IMAGES_OF_MODEL_TYPE", {})
    shutil.copytree(clip, tmp_path / "clip")
    (tmp_path / "clip/preprocessor_config.json").unlink()
    error = refuse(tmp_path, llama, str(tmp_path / "clip"), "has no preprocessor_config.json")
    assert "put a preprocessor_config.json beside its weights" in error.fix


def test_a_token_that_means_something_else(llama, clip, tmp_path, unread):
    taken = {"model": str(clip), "token": "<|endoftext|>"}
    error = refuse(tmp_path, llama, taken, "is the (bos|eos)_token of the language model")
    assert error.where == "model.encoders.vision.token"


def test_packed_weights(llama, clip, tmp_path, unread):
    packed = edited(
        llama, tmp_path / "llama", quantization_config={"quant_method": "gptq", "bits": 4}
    )
    error = refuse(tmp_path, packed, str(clip), "has packed weights")
    assert "tfcli dequantize" in error.fix


def test_weights_that_their_config_does_not_build(llama, clip, tmp_path, unread):
    other = edited(clip, tmp_path / "clip", intermediate_size=48)
    refuse(tmp_path, llama, str(other), r"fc1.weight is \[40, 24\], the config asks for \[48, 24\]")


def test_a_language_model_without_a_tokenizer(llama, clip, tmp_path, unread):
    shutil.copytree(llama, tmp_path / "llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "llama" / name).unlink()
    refuse(tmp_path, tmp_path / "llama", str(clip), "tokenizer")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"language_model": "a", "encoders": {}}, "at least 1 item"),
        ({"language_model": "a"}, "'encoders' is required"),
        (
            {
                "language_model": "a",
                "encoders": {"vision": "b", "x": {"model": "c", "token": "<image>"}},
            },
            "the encoders vision and x have one token, <image>",
        ),
        ({"language_model": "a", "encoders": {"2nd": "b"}}, "cannot be called '2nd'"),
        ({"language_model": "a", "encoders": {"images": "b"}}, "cannot be called 'images'"),
        (
            {"language_model": "a", "encoders": {"x": {"model": "b", "num_queries": 4}}},
            "num_queries has no effect with projector: linear",
        ),
        (
            {"language_model": "a", "encoders": {"x": {"model": "b", "projektor": "mlp"}}},
            "projektor",
        ),
    ],
)
def test_recipes_that_cannot_be_meant(model, message):
    with pytest.raises(UsageError, match=message):
        build_spec(ComposeSpec, {"model": model, "output": "out"})


def test_an_output_is_asked_for():
    model = {"language_model": "a", "encoders": {"vision": "b"}}
    with pytest.raises(UsageError, match="output is missing"):
        build_spec(ComposeSpec, {"model": model})
    assert build_spec(ComposeSpec, {"model": model, "dry_run": True}).target() is None
