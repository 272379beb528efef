"""Folders as transformers writes them: a llama with a tokenizer, and two of CLIP's towers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.models.media_cases.llava import CLIP, LLAMA
from tfcli.compose.run import run
from tfcli.compose.spec import ComposeResult, ComposeSpec
from tfcli.processors.images.clip import CLIPImageProcessor
from tfcli.recipe.job import Job


def plain(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "model_type"} | changes


def save_clip(folder: Path, seed: int = 0, **changes: Any) -> Path:
    torch.manual_seed(seed)
    config = transformers.CLIPVisionConfig(**plain(CLIP, **changes))
    transformers.CLIPVisionModel(config).save_pretrained(folder)
    side = config.image_size
    CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    ).save_pretrained(folder)
    return folder


def save_llama(folder: Path, tokenizer: Path, seed: int = 0, **changes: Any) -> Path:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        **plain(LLAMA, vocab_size=320, bos_token_id=0, eos_token_id=0, **changes)
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for file in tokenizer.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    return save_llama(tmp_path_factory.mktemp("compose") / "llama", tiny_tokenizer)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("compose") / "clip")


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another tower, with images of another size."""
    return save_clip(tmp_path_factory.mktemp("compose") / "small", 1, hidden_size=16, image_size=24)


def compose(
    output: Path, language_model: Path, encoders: dict[str, Any], **keys: Any
) -> ComposeResult:
    """`tfcli compose`'s work alone."""
    output.mkdir()
    model = {"language_model": str(language_model), "encoders": encoders}
    return run(ComposeSpec(model=model, output=str(output), **keys), Job(folder=output))
