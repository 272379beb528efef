"""`tfcli launch`: a file, and what is refused before one is written."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from tests.train.conftest import make_spec, texts  # noqa: F401 - the small training
from tfcli.commands.app import run


@pytest.fixture
def recipe(make_spec, tmp_path, monkeypatch):  # noqa: F811
    """A folder with a recipe, in which the command is called."""

    def write(**changes):
        spec = make_spec(**changes).model_dump(mode="json", exclude_unset=True)
        (tmp_path / "a b.yaml").write_text(yaml.safe_dump({"command": "train", **spec}))
        monkeypatch.chdir(tmp_path)
        return "a b.yaml"

    return write


def test_a_script_is_written_and_its_memory_is_the_estimates(recipe, tmp_path, capsys):
    words = [recipe(), "--to", "slurm", "--nodes", "2", "--gpus-per-node", "0", "-o", "job.sh"]
    assert run(["launch", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    text = (tmp_path / "job.sh").read_text()
    assert text == found["text"]
    subprocess.run(["bash", "-n", "job.sh"], cwd=tmp_path, check=True)
    assert (found["processes"], found["start"]) == (2, "sbatch job.sh")
    assert f"#SBATCH --mem={-(-found['host_memory'] // 10**9)}G" in text
    assert found["memory"] <= found["host_memory"] <= 1.2 * found["memory"]
    assert "train \\\n  '\"'\"'a b.yaml'\"'\"''" in text
    assert run(["launch", *words]) == 2  # it is there
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--to", "kubernetes", "--image", "i"), "needs --storage"),
        (("--to", "kubernetes", "--storage", "c"), "needs --image"),
        (("--to", "skypilot", "--storage", "s3://b"), "needs --gpu"),
        (("--to", "slurm", "--image", "i"), "--image has no effect"),
        (("--to", "slurm", "--gpu", "h100", "--gpus-per-node", "0"), "no GPUs"),
        (("--to", "dstack", "--storage", "a'; rm x; '"), "is no name"),
        (("--to", "slurm", "--time", "soon"), "no length of time"),
        (("--to", "slurm", "--time", "00:99:00"), "no length of time"),
        (("--to", "slurm", "--time", "1m", "--grace", "2m"), "no shorter"),
        (("--to", "slurm", "-o", "nowhere/job.sh"), "no folder"),
    ],
)
def test_wrong_flags_are_named(words, what, recipe, capsys):
    assert run(["launch", recipe(), *words]) == 2
    assert what in " ".join(capsys.readouterr().err.split())


def test_processes_must_share_the_strategy(recipe, capsys):
    assert run(["launch", recipe(strategy="single"), "--to", "slurm", "--nodes", "2"]) == 2
    assert "of one process" in capsys.readouterr().err
    path = recipe(strategy="fsdp", fsdp={"group_size": 3})
    assert run(["launch", path, "--to", "slurm", "--gpus-per-node", "4"]) == 2
    assert "groups of 3" in capsys.readouterr().err


def test_only_trainings_are_launched(tmp_path, capsys):
    path = tmp_path / "r.yaml"
    path.write_text("command: inspect\npath: model\n")
    assert run(["launch", str(path), "--to", "slurm"]) == 2
    assert "trainings are launched" in capsys.readouterr().err
    assert run(["launch", "sft", "--to", "slurm"]) == 2
    assert "a recipe of steps" in capsys.readouterr().err
