"""Checkpoints: whole, checked, and without pickles."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.process_group import ALONE
from tfcli.train.checkpoint import SCHEMA, Checkpoints, Progress
from tfcli.train.moving_spec import OptimizerSection
from tfcli.train.optimizer import build_optimizer
from tfcli.train.strategies.single import Single


def trained(name: str = "adamw", steps: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(64, 64), nn.Linear(64, 64))
    optimizer = build_optimizer(model, OptimizerSection(name=name), 0.1)
    train(model, optimizer, range(steps))
    return model, optimizer


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        model(torch.tensor([step % 64])).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def same(left: nn.Module, right: nn.Module) -> bool:
    return all(map(torch.equal, left.state_dict().values(), right.state_dict().values()))


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path, Console.silent(), Single(ALONE))


@pytest.mark.parametrize("name", ["adamw", "adamw-8bit", "adafactor", "lion", "muon", "sgd"])
def test_a_run_goes_on_exactly_from_a_checkpoint(checkpoints, name):
    straight = trained(name, 6)
    checkpoints.save(Progress(step=3, tokens=7, best={"val_loss": 0.1 + 0.2}), *trained(name, 3))
    resumed = trained(name)
    assert checkpoints.load(*resumed) == Progress(step=3, tokens=7, best={"val_loss": 0.1 + 0.2})
    train(*resumed, range(3, 6))
    assert same(straight[0], resumed[0])


def test_nothing_in_it_is_a_pickle(checkpoints, tmp_path):
    checkpoints.save(Progress(step=1), *trained(steps=1))
    names = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert names == {
        "weights-00000.safetensors",
        "optimizer-00000.safetensors",
        "state.json",
        "manifest.json",
    }


def test_no_checkpoint_is_no_progress(checkpoints):
    assert checkpoints.load(*trained()) is None


def test_the_newest_two_stay(checkpoints, tmp_path):
    for step in (5, 10, 15):
        checkpoints.save(Progress(step=step), *trained(steps=1))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-10", "checkpoint-15"}
    assert checkpoints.load(*trained()).step == 15


def damage_bytes(folder):
    path = folder / "optimizer-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def damage_cut(folder):
    path = folder / "weights-00000.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def damage_lost(folder):
    (folder / "state.json").unlink()


def damage_manifest(folder):
    (folder / "manifest.json").write_text("[1")


def damage_names(folder):
    (folder / "manifest.json").write_text(json.dumps({"schema": SCHEMA, "files": {"../x": "0"}}))


def damage_form(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema": "tfcli.checkpoint/1"}))


DAMAGES = [damage_form, damage_bytes, damage_cut, damage_lost, damage_manifest, damage_names]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(checkpoints, tmp_path, damage, capsys):
    checkpoints.save(Progress(step=5), *trained(steps=5))
    checkpoints.save(Progress(step=10), *trained(steps=10))
    damage(tmp_path / "checkpoint-10")
    model, optimizer = trained()
    assert checkpoints.load(model, optimizer).step == 5
    assert same(model, trained(steps=5)[0])
    assert "checkpoint-10 is damaged" in capsys.readouterr().err


def test_only_damaged_checkpoints_are_an_error_that_says_what_to_do(checkpoints, tmp_path):
    checkpoints.save(Progress(step=5), *trained(steps=1))
    damage_bytes(tmp_path / "checkpoint-5")
    with pytest.raises(WorkError, match="checkpoint-5") as error:
        checkpoints.load(*trained())
    assert "--force" in error.value.fix


def test_a_checkpoint_brings_back_the_best_weights_of_its_time(checkpoints, tmp_path):
    early, late = trained(steps=1), trained(steps=9)
    checkpoints.save_best(early[0])
    checkpoints.save(Progress(step=5), *early)
    weights = checkpoints.best / "weights-00000.safetensors"
    wanted = weights.read_bytes()
    checkpoints.save_best(late[0])
    assert weights.read_bytes() != wanted
    checkpoints.load(*trained())
    assert weights.read_bytes() == wanted
