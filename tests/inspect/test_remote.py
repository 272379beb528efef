"""`tfcli inspect` of what is not all here: models on the hub, a config alone; and of adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import peft
import pytest
import torch
from huggingface_hub import constants

from tests.checkpoints.gguf.convert import to_gguf
from tests.checkpoints.models import GPT2, LLAMA, tiny
from tests.hub import Hub, serving
from tests.merge.adapters import base_folder, train
from tfcli.checkpoints.folder import save_model
from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.inspect.machine import parse_gpus
from tfcli.inspect.needs import needs
from tfcli.inspect.run import run
from tfcli.inspect.spec import DeviceMemory, InspectResult, InspectSpec, TensorLine
from tfcli.recipe.job import Job

# Its embedding is far larger than what is asked for first.
NAME = "pytorch_model.bin"
WIDE = {**LLAMA, "vocab_size": 320, "hidden_size": 512, "intermediate_size": 1024}


def inspect(path: Path | str, **options: int) -> InspectResult:
    return run(InspectSpec(path=str(path), **options), Job(console=Console.silent()))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    """Folders with safetensors, pickles, and a GGUF file whose header holds a long vocabulary."""
    folder = tmp_path_factory.mktemp("served")
    save_model(tiny(WIDE), folder / "safetensors", max_shard_bytes=4_000_000)
    weights = dict(tiny(WIDE).state_dict())
    for form, zipped in (("pickle", True), ("old pickle", False)):
        (folder / form).mkdir()
        torch.save(weights, folder / form / NAME, _use_new_zipfile_serialization=zipped)
        shutil.copyfile(folder / "safetensors/config.json", folder / form / "config.json")
    for file in tiny_tokenizer.iterdir():
        for form in ("safetensors", "pickle"):
            shutil.copyfile(file, folder / form / file.name)
    (folder / "gguf").mkdir()
    vocabulary = json.loads((tiny_tokenizer / "tokenizer.json").read_text())
    long = [
        {"id": 320 + i, "content": f"<long {i} {'x' * 500}>", "special": True} for i in range(400)
    ]
    fixed = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    vocabulary["added_tokens"] += [{**token, **fixed} for token in long]
    source = folder / "source"
    save_model(tiny({**WIDE, "vocab_size": 720}), source)
    for file in tiny_tokenizer.iterdir():
        shutil.copyfile(file, source / file.name)
    (source / "tokenizer.json").write_text(json.dumps(vocabulary))
    to_gguf(source, folder / "gguf/model-F32.gguf")
    return folder


@pytest.fixture
def hub(
    request: pytest.FixtureRequest, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    with serving(served / request.param, tmp_path, monkeypatch) as server:
        yield server


@pytest.mark.parametrize("hub", ["safetensors", "gguf", "pickle"], indirect=True)
def test_a_model_on_the_hub_is_read_by_its_headers_alone(hub: Hub) -> None:
    far, here = inspect("org/any"), inspect(hub.folder)
    assert far.path == "org/any"
    assert far.model_dump(exclude={"path"}) == here.model_dump(exclude={"path"})
    for name in here.files:
        size = (hub.folder / name).stat().st_size
        assert 0 < hub.sent[name] < size / 3, name


@pytest.mark.parametrize("hub", ["old pickle"], indirect=True)
def test_a_file_without_a_header_is_not_fetched_whole_but_refused(hub: Hub) -> None:
    with pytest.raises(WorkError, match=r"before 1\.6") as refused:
        inspect("org/any")
    assert "tfcli hub download" in str(refused.value.fix)
    assert hub.sent[NAME] < (hub.folder / NAME).stat().st_size / 3


@pytest.mark.parametrize("hub", ["safetensors"], indirect=True)
def test_what_is_in_the_cache_is_read_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfcli.hub import resolve

    folder = resolve("org/any")
    hub.sent.clear()
    assert inspect("org/any").path == str(folder)
    assert not hub.sent
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert inspect("org/any").path == str(folder)


@pytest.mark.parametrize("settings", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_a_config_alone_says_what_the_whole_model_would(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    save_model(tiny(settings, dtype=torch.bfloat16), tmp_path / "whole")
    (tmp_path / "alone").mkdir()
    shutil.copyfile(tmp_path / "whole/config.json", tmp_path / "alone/config.json")
    whole, alone = inspect(tmp_path / "whole"), inspect(tmp_path / "alone")
    assert (alone.kind, alone.files) == ("config", [])
    for key in ("parameters", "bytes", "dtypes", "task", "memory"):
        assert getattr(alone, key) == getattr(whole, key), key
    assert [need.bytes for need in alone.needs] == [need.bytes for need in whole.needs]


def test_a_config_that_builds_nothing_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "of_tomorrow"}')
    with pytest.raises(WorkError, match=r"no weights are here.*of_tomorrow"):
        inspect(tmp_path)


def test_needs_are_of_each_type_and_of_the_length_that_is_asked_for(tmp_path: Path) -> None:
    model = tiny(LLAMA)
    save_model(model, tmp_path)
    short, long = inspect(tmp_path, context=8), inspect(tmp_path, context=16)
    count = sum(p.numel() for p in model.parameters())
    linears = [
        m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "layers" in n
    ]
    packed = sum(m.weight.numel() for m in linears)
    adapter = sum(16 * sum(m.weight.shape) for m in linears)
    found = {(need.action, need.dtype): need.bytes for need in short.needs}
    assert found["load", "float32"] == 4 * count
    assert found["load", "bfloat16"] == 2 * count
    assert found["load", "int4"] == int(packed * (0.5 + 3 / 128) + 2 * (count - packed))
    assert found["train", "float32"] == 16 * count
    assert found["train", "bfloat16"] == 8 * count
    assert found["adapt", "bfloat16"] == 2 * count + 16 * adapter
    assert short.memory.context == 8
    # Keys and values of two layers, and the activations, of eight tokens more.
    more = 8 * (2 * 2 * 16 + 4 * 32 + 2 * 48)
    later = {(need.action, need.dtype): need.bytes for need in long.needs}
    assert later["run", "float32"] - found["run", "float32"] == 4 * more
    assert later["run", "int4"] - found["run", "int4"] == 2 * more
    assert all("cpu" in need.fits for need in short.needs)


def test_a_device_holds_what_leaves_a_tenth_of_its_memory_free() -> None:
    text = "0, NVIDIA H200, 143771\n1, NVIDIA Z, [N/A]\n"
    (found,) = parse_gpus(text)
    assert (found.device, found.name) == ("cuda:0", "NVIDIA H200")
    assert found.bytes == 143771 << 20
    tensors = [TensorLine(name="a.0.w", dtype="F32", shape=[10, 10], bytes=400)]
    small = DeviceMemory(device="cuda:1", name="", bytes=400)
    fits = {(n.action, n.dtype): n.fits for n in needs(None, None, 100, tensors, [found, small])}
    assert fits["load", "float32"] == fits["train", "bfloat16"] == ["cuda:0"]
    assert fits["load", "bfloat16"] == ["cuda:0", "cuda:1"]


def test_an_adapter_is_described_as_one(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    config = peft.LoraConfig(
        r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head"]
    )
    train(base, tmp_path / "adapter", config)
    found = inspect(tmp_path / "adapter")
    assert (found.kind, found.task) == ("adapter", None)
    assert found.adapter is not None
    about = found.adapter
    assert (about.method, about.wrote, about.rank, about.alpha) == ("lora", "PEFT", 3, 6)
    assert (about.targets, about.whole) == (["down_proj", "q_proj"], ["lm_head.weight"])
    assert about.base == str(base)
    assert found.parameters == 2 * 3 * (32 + 32 + 48 + 32) + 61 * 32
