"""Fetching, from a small hub on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from tests.flagai.folders import make, write
from tests.hub import Hub, serving
from tfcli.errors import UsageError, WorkError
from tfcli.flagai import models
from tfcli.flagai.fetch import hub_id, local_folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = write(tmp_path / "served", make(models.GLMModel))
    (served / "cog-pretrain.model").write_bytes(b"pieces")
    (served / "modeling_glm.py").write_text("raise SystemExit")
    with serving(served, tmp_path, monkeypatch) as server:
        yield server


def test_a_known_name_is_fetched_once_without_code(hub, tmp_path):
    model = models.GLMModel.from_pretrain(tmp_path / "mine", "GLM-large-ch")
    assert torch.equal(model.core.lm_head.weight, make(models.GLMModel).core.lm_head.weight)
    folder = tmp_path / "mine" / "GLM-large-ch"
    names = ["cog-pretrain.model", "config.json", "pytorch_model.bin"]
    assert sorted(path.name for path in folder.iterdir()) == names
    models.GLMModel.from_pretrain(tmp_path / "mine", "GLM-large-ch")
    assert hub.asked == Counter(names)


def test_a_hub_id_has_a_folder_of_its_own(hub, tmp_path):
    assert local_folder(tmp_path / "mine", "org/any") == tmp_path / "mine" / "org" / "any"
    assert (tmp_path / "mine" / "org" / "any" / "pytorch_model.bin").is_file()


def test_safetensors_go_before_pickles(hub, tmp_path):
    from tfcli.checkpoints.folder import save_model

    save_model(make(models.GLMModel).core, hub.folder)
    folder = local_folder(tmp_path, "GLM-10b-ch")
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "pytorch_model.bin").exists()


def test_only_the_config(hub, tmp_path):
    model = models.GLMModel.from_pretrain(tmp_path, "GLM-large-ch", only_download_config=True)
    assert model.config.num_layers == 2
    assert not (tmp_path / "GLM-large-ch" / "pytorch_model.bin").exists()
    models.GLMModel.from_pretrain(tmp_path, "GLM-large-ch")  # the weights are fetched when wanted
    assert (tmp_path / "GLM-large-ch" / "pytorch_model.bin").exists()


def test_an_interrupted_fetch_leaves_no_folder_and_goes_on(hub, tmp_path):
    hub.fails = "pytorch_model.bin"
    with pytest.raises(WorkError) as caught:
        local_folder(tmp_path, "GLM-large-ch")
    assert f"into {tmp_path / 'GLM-large-ch'}" in caught.value.fix
    assert not (tmp_path / "GLM-large-ch").exists()
    hub.fails = None
    folder = local_folder(tmp_path, "GLM-large-ch")
    assert (folder / "pytorch_model.bin").is_file()
    assert hub.asked["cog-pretrain.model"] == 1


def test_a_users_files_are_not_written_over(hub, tmp_path):
    folder = tmp_path / "GLM-large-ch"
    folder.mkdir()
    (folder / "cog-pretrain.model").write_text("mine")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"cog-pretrain\.model is there, and is not what"):
            local_folder(tmp_path, "GLM-large-ch")
    assert [path.name for path in folder.iterdir()] == ["cog-pretrain.model"]
    assert (folder / "cog-pretrain.model").read_text() == "mine"
    (folder / "cog-pretrain.model").unlink()
    assert (local_folder(tmp_path, "GLM-large-ch") / "pytorch_model.bin").is_file()


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_neighbour_that_no_fetch_made_is_left(hub, tmp_path, kind):
    mine = tmp_path / ("mine" if kind == "link" else ".GLM-large-ch.fetching")
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    if kind == "link":
        (tmp_path / ".GLM-large-ch.fetching").symlink_to(mine)
    with pytest.raises(UsageError, match="fetching is in the way"):
        local_folder(tmp_path, "GLM-large-ch")
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_processes_side_by_side_fetch_once(hub, tmp_path):
    code = (
        "import sys; from tfcli.flagai.fetch import local_folder; "
        "local_folder(sys.argv[1], 'GLM-large-ch')"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "mine")]) for _ in range(3)
    ]
    assert [process.wait(timeout=100) for process in running] == [0, 0, 0]
    assert set(hub.asked.values()) == {1}


def test_offline_the_error_names_the_folder_to_fill(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WorkError, match="offline mode is on") as caught:
        local_folder(tmp_path, "BERT-base-en")
    assert str(tmp_path / "BERT-base-en") in caught.value.fix
    with pytest.raises(UsageError, match="with weights beside it") as caught:
        local_folder(tmp_path, "T5-base-ch")
    assert "put its files there" in caught.value.fix


def test_which_names_are_known():
    assert hub_id("bert-BASE-en") == "google-bert/bert-base-uncased"
    assert hub_id("org/name") == "org/name"
    assert hub_id("GPT2-base-ch") is None and hub_id("mine") is None
