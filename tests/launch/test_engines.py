"""What is written for each engine: whole, as its schema has it, and safe for any name."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.launch.schemas import DSTACK, JOB, SERVICE, SKYPILOT
from tfcli.errors import UsageError
from tfcli.launch.engines import dstack, kubernetes, ray, skypilot, slurm
from tfcli.launch.plan import Plan, job_name

PLAN = Plan(
    recipe="train.yaml",
    name="train",
    folder="/home/me/runs",
    nodes=2,
    gpus=8,
    seconds=43200,
    grace=120,
    restarts=3,
    parts={"weights": 2 * 10**9, "optimizer": 4 * 10**9},
    memory=6 * 10**9,
    host=40 * 10**9 + 1,
    versions={"python": "3.11.7", "tfcli": "0.1.0", "torch": "2.13.0"},
    gpu="H100",
    image="registry/tfcli:1",
    storage="claim",
)
HOSTILE = (
    "a'; touch OWNED; '.yaml",
    'a"; touch OWNED; ".yaml',
    "$(touch OWNED).yaml",
    "`touch OWNED`.yaml",
    "a\ntouch OWNED\n.yaml",
    "a\n#SBATCH --partition=x\n---\nkind: Pod\n.yaml",
    "$(HOME).yaml",
    '"""; import os; os.mkdir("OWNED"); """.yaml',
)
ENGINES = (slurm, skypilot, kubernetes, dstack, ray)


def hostile(recipe: str) -> Plan:
    return replace(PLAN, recipe=recipe, name=job_name(recipe.removesuffix(".yaml")))


def script_of(engine, plan: Plan) -> str:
    """The shell's part of what is written."""
    text = engine.write(plan)
    if engine is slurm:
        return text
    if engine is ray:
        return constants(text)["COMMAND"]
    found = list(yaml.safe_load_all(text))
    if engine is kubernetes:
        return expanded(found[1]["spec"]["template"]["spec"]["containers"][0]["command"][2])
    return found[0]["run"] if engine is skypilot else "\n".join(found[0]["commands"])


def expanded(script: str) -> str:
    """What Kubernetes hands on: known `$(NAME)` replaced, `$$(` as `$(`."""
    parts = script.split("$$(")
    return "$(".join(part.replace("$(HOME)", "/root") for part in parts)


def constants(text: str) -> dict:
    nodes = [each for each in ast.parse(text).body if isinstance(each, ast.Assign)]
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in nodes
        if isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
    }


@pytest.mark.parametrize("recipe", ["train.yaml", *HOSTILE])
def test_yaml_is_as_its_engine_has_it(recipe):
    plan = hostile(recipe)
    jsonschema.validate(yaml.safe_load(skypilot.write(plan)), SKYPILOT)
    jsonschema.validate(yaml.safe_load(dstack.write(plan)), DSTACK)
    service, job = yaml.safe_load_all(kubernetes.write(plan))
    jsonschema.validate(service, SERVICE)
    jsonschema.validate(job, JOB)
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda each: each.__name__.rpartition(".")[2])
@pytest.mark.parametrize("recipe", ["train.yaml", *HOSTILE])
def test_the_recipe_is_one_word_whatever_its_name(engine, recipe, tmp_path):
    """torchrun is a program that writes its arguments down."""
    plan = replace(hostile(recipe), folder=str(tmp_path))
    programs = tmp_path / "bin"
    programs.mkdir()
    tool(programs, "torchrun", f'printf "%s\\0" "$@" > {tmp_path}/arguments')
    for name in ("srun", "timeout"):  # they run what follows their own words
        tool(
            programs,
            name,
            'while [ "${1#-}" != "$1" ] || [ "$1" -gt 0 ] 2>/dev/null; do shift; done; "$@"',
        )
    tool(programs, "scontrol", "echo node-1; echo node-2")
    tool(programs, "pip", "true")
    script = script_of(engine, plan).replace("cd /storage", f"cd {tmp_path}")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    place = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HEAD": "node-1",
        "FIRST": "1",
        **dict.fromkeys(("SLURM_NODEID", "SKYPILOT_NODE_RANK", "JOB_COMPLETION_INDEX"), "0"),
        "DSTACK_NODE_RANK": "0",
        "DSTACK_MASTER_NODE_IP": "node-1",
        "SKYPILOT_NODE_IPS": "node-1\nnode-2",
        **dict.fromkeys(("SLURM_JOB_NODELIST", "SLURM_JOB_ID"), "7"),
    }
    subprocess.run(["bash"], input=script, text=True, check=True, env=place, cwd=tmp_path)
    words = (tmp_path / "arguments").read_text().split("\0")
    assert recipe in words
    assert "--nnodes=2" in words
    assert "--nproc-per-node=8" in words
    assert "--rdzv-conf=is_host=1" in words
    head = "train-0.train" if engine is kubernetes and recipe == "train.yaml" else "node-1"
    if engine is not kubernetes or recipe == "train.yaml":
        assert f"--rdzv-endpoint={head}:29400" in words
    assert not (tmp_path / "OWNED").exists()


def tool(folder: Path, name: str, does: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{does}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("recipe", ["train.yaml", *HOSTILE])
def test_comments_and_options_hold_no_line_of_a_name(recipe):
    header, _, _ = slurm.write(hostile(recipe)).partition("\nset ")  # Slurm reads no further
    assert not any(line.startswith("#SBATCH --partition") for line in header.splitlines())
    ast.parse(ray.write(hostile(recipe)))


def test_memory_and_signals_are_asked_for():
    text = slurm.write(PLAN)
    for line in ("--mem=41G", "--time=0-12:00:00", "--signal=B:TERM@120", "--requeue"):
        assert f"#SBATCH {line}\n" in text
    pod = list(yaml.safe_load_all(kubernetes.write(PLAN)))[1]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 120
    assert pod["containers"][0]["resources"]["requests"] == {"memory": "41G", "nvidia.com/gpu": 8}
    task = yaml.safe_load(dstack.write(PLAN))
    assert task["resources"]["gpu"] == {"name": "H100", "count": 8, "memory": "6GB.."}
    assert (task["stop_duration"], task["max_duration"]) == ("120s", "43200s")
    for engine in ENGINES:
        assert "weights 2.00 GB, optimizer 4.00 GB" in engine.write(PLAN)


def test_dstacks_own_values_are_refused():
    with pytest.raises(UsageError, match="values of its own"):
        dstack.write(replace(PLAN, recipe="${{ secrets.token }}.yaml"))


@pytest.mark.parametrize("name", ["Train_1", "--", "9 lives", "a" * 99, "é"])
def test_a_name_is_made_of_anything(name):
    made = job_name(name)
    assert made
    assert made[0].isalpha()
    assert made[-1].isalnum()
    assert len(made) <= 40


def test_a_preempted_job_goes_on_from_its_checkpoint(make_spec, texts, tmp_path):
    """The script runs in a shell, as Slurm would run it, with torchrun and two processes."""
    spec = make_spec(output="out", max_steps=400, checkpoint_every=1000, device="cpu")
    (tmp_path / "train.yaml").write_text(
        yaml.safe_dump({"command": "train", **spec.model_dump(mode="json", exclude_unset=True)})
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    torchrun = Path(sys.executable).parent / "torchrun"
    tool(programs, "torchrun", f'exec {torchrun} "$@"')
    tool(programs, "scontrol", f'[ "$1" = requeue ] && touch {tmp_path}/requeued || echo localhost')
    pid = tmp_path / "pid"
    tool(programs, "srun", f'shift; echo $$ > {pid}; exec "$@"')
    tool(programs, "scancel", f"kill -TERM $(cat {pid}) $(pgrep -P $(cat {pid}))")  # all of a step
    plan = replace(PLAN, folder=str(tmp_path), nodes=1, gpus=2)
    place = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SLURM_NODEID": "0",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "localhost",
        "OMP_NUM_THREADS": "1",
    }
    job = subprocess.Popen(["bash", "-c", slurm.write(plan)], env=place, cwd=tmp_path)
    metrics = tmp_path / ".out.partial" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert job.poll() is None
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    assert job.wait() != 0
    assert (tmp_path / "requeued").exists()
    assert list((tmp_path / ".out.partial").glob("checkpoint-*"))
