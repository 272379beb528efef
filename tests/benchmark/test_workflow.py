"""The workflow of the documents: it is YAML, and its commands are commands of tfcli."""

import shlex
from pathlib import Path

import yaml

from tfcli.benchmark.spec import BenchmarkSpec
from tfcli.recipe.spec import walk_fields

FILE = Path(__file__).parents[2] / "docs" / "ci-benchmark.yml"


def test_the_workflow_runs_what_there_is():
    job = yaml.safe_load(FILE.read_text())["jobs"]["benchmark"]
    runs = [step["run"] for step in job["steps"] if "tfcli benchmark" in step.get("run", "")]
    assert len(runs) == 2
    words = shlex.split(" ".join([*runs, job["env"]["WHAT"]]))
    flags = {word for word in words if word.startswith("--")}
    assert "--baseline" in flags and "--fail-on" in flags
    keys = {name for name, _ in walk_fields(BenchmarkSpec)}
    assert {flag.removeprefix("--").replace("-", "_") for flag in flags} <= keys
