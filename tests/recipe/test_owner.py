"""Two recipe files of one name do not replace each other's steps in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tfcli.commands.app import run

RECIPE = "name: exp\nsteps:\n  m: {{command: data, source: {source}, test: 0.2, seed: {seed}}}\n"


@pytest.fixture
def tfcli(tmp_path, monkeypatch, capsys) -> Callable[..., dict]:
    """A folder with texts and two recipes `exp`, the first of which has run."""
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    for n in range(8):
        Path(f"texts/{n}.txt").write_text(f"Text {n} says something of its own, and so on.")

    def call(*words: str, code: int = 0) -> dict:
        capsys.readouterr()
        assert run([*words, "--json"]) == code
        said = capsys.readouterr()
        return {**json.loads(said.out), "said": said.err}

    for folder, seed in (("x", 0), ("y", 1)):
        Path(folder).mkdir()
        Path(folder, "exp.yaml").write_text(RECIPE.format(source="texts", seed=seed))
    call("run", "x/exp.yaml")
    return call


def seed() -> int:
    return json.loads(Path("runs/exp/m/run.json").read_text())["spec"]["seed"]


def test_a_step_of_another_file_is_not_replaced_and_two_ways_forward_are_given(tfcli):
    tfcli("run", "y/exp.yaml", "--dry-run", code=2)
    error = tfcli("run", "y/exp.yaml", code=2)["error"]
    assert error["code"] == "output.other_recipe"
    assert error["what"] == "runs/exp/m was made by another recipe: x/exp.yaml"
    assert seed() == 0
    tfcli("run", "y/exp.yaml", "--output", "elsewhere")
    assert seed() == 0
    tfcli("run", "y/exp.yaml", "--force")
    assert seed() == 1
    error = tfcli("run", "x/exp.yaml", code=2)["error"]  # it is the other one's now
    assert error["what"].endswith("y/exp.yaml")


def test_its_own_steps_a_recipe_replaces(tfcli):
    tfcli("run", "x/exp.yaml", "--set", "steps.m.seed=2")
    assert seed() == 2


def test_a_copy_uses_what_is_up_to_date_and_replaces_nothing(tfcli):
    shutil.copy("x/exp.yaml", "copy.yaml")
    assert [step["reused"] for step in tfcli("run", "copy.yaml")["steps"]] == [True]
    tfcli("run", "copy.yaml", "--set", "steps.m.seed=2", code=2)
    tfcli("run", "x/exp.yaml", "--set", "steps.m.seed=2")


def test_a_step_that_only_one_of_them_has_is_its_own(tfcli):
    text = Path("x/exp.yaml").read_text()
    Path("y/exp.yaml").write_text(text + "  n: {command: data, source: texts, test: 0.3}\n")
    tfcli("run", "y/exp.yaml")
    tfcli("run", "y/exp.yaml", "--set", "steps.n.seed=4")
    tfcli("run", "y/exp.yaml", "--set", "steps.m.seed=4", code=2)
    tfcli("run", "x/exp.yaml", "--set", "steps.m.seed=4")


def test_a_recipe_that_was_moved_goes_on_with_a_word(tfcli):
    Path("x/exp.yaml").rename("moved.yaml")
    said = tfcli("run", "moved.yaml", "--set", "steps.m.seed=2", "--quiet")["said"]
    assert "was made by x/exp.yaml, which is not there any more" in " ".join(said.split())
    assert seed() == 2
    assert not tfcli("run", "moved.yaml", "--set", "steps.m.seed=3", "--quiet")["said"]


def test_a_project_that_was_moved_as_a_whole_knows_its_recipes(tfcli, tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    for name in ("x", "y", "runs", "texts"):
        Path(name).rename(tmp_path / "new" / name)
    monkeypatch.chdir(tmp_path / "new")
    assert not tfcli("run", "x/exp.yaml", "--set", "steps.m.seed=2", "--quiet")["said"]
    tfcli("run", "y/exp.yaml", code=2)


def test_an_interrupted_step_of_another_file_is_not_discarded(tfcli):
    shutil.rmtree("runs/exp/m")
    partial = Path("runs/exp/.m.partial")
    partial.mkdir()
    mark = {"command": "train", "key": "other", "resumable": True, "replaces": None}
    (partial / ".key.json").write_text(json.dumps(mark))
    (partial / "checkpoint-5").mkdir()
    assert tfcli("run", "y/exp.yaml", code=2)["error"]["code"] == "output.interrupted"
    assert (partial / "checkpoint-5").exists()


def test_a_recipe_that_comes_with_tfcli_is_known_by_its_name(tfcli, tmp_path, monkeypatch):
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "exp.yaml").write_text(RECIPE.format(source="texts", seed=0))
    monkeypatch.setattr("tfcli.recipe.recipe.SHIPPED", shipped)
    monkeypatch.setattr("tfcli.recipe.owner.SHIPPED", shipped)
    shutil.rmtree("runs")
    tfcli("run", "exp")
    error = tfcli("run", "y/exp.yaml", code=2)["error"]
    assert error["what"].endswith("another recipe: exp, which comes with tfcli")


def test_finished_steps_on_a_disk_that_is_only_read_are_used(tfcli):
    Path("runs/exp/.recipes.json").unlink()
    Path("runs/exp").chmod(0o555)
    assert tfcli("run", "x/exp.yaml")["steps"][0]["reused"]
    Path("runs/exp").chmod(0o755)
