"""Our figures beside those of lm-evaluation-harness with its Hugging Face backend: of the same
weights and files of tasks, under the same conditions."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from tests.evaluate.tasks.files import CHOICE, CONTINUE, ROLL, WRITE, write_task
from tfcli.commands.app import run

PYTHON = Path(__file__).parents[3] / ".lm-eval/bin/python"
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not PYTHON.exists(), reason="scripts/lm-eval makes .lm-eval"),
]


def theirs(model, folder, tasks, **options):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("harness.py"), model, ".", tasks, json.dumps(options)],
        cwd=folder,
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(capsys, model, path, *flags):
    capsys.readouterr()
    assert run(["eval", str(model), "--task", str(path), *flags, "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    return {measure["name"]: measure["value"] for measure in found["measures"]}


def agree(mine, other):
    """Everywhere within 1e-4; perplexities by their logarithms, as the losses they are made of."""
    assert mine
    for name, value in mine.items():
        wanted = other[f"{name},none"]
        if "perplexity" in name:
            value, wanted = math.log(value), math.log(wanted)
        assert value == pytest.approx(wanted, abs=1e-4), name


def test_prompts_examples_choices_and_texts_are_theirs(capsys, tiny_llama, tmp_path):
    paths = [write_task(tmp_path, task) for task in (CHOICE, CONTINUE, WRITE)]
    found = theirs(tiny_llama, tmp_path, "choose,continue,write", shots=1, max_length=128)
    for path in paths:
        mine = ours(capsys, tiny_llama, path, "--shots", "1")
        agree(mine, found["results"][path.stem])


def test_whole_texts_are_theirs(capsys, tiny_llama, tmp_path):
    """They put the BOS before a text's first window alone, and the last token of a window is not
    read: 31 tokens of theirs are 32 of ours."""
    path = write_task(tmp_path, ROLL)
    found = theirs(tiny_llama, tmp_path, "roll", add_bos_token=False, max_length=31)
    mine = ours(capsys, tiny_llama, path, "--bos", "first", "--window", "32", "--stride", "31")
    agree(mine, found["results"]["roll"])


def test_the_harness_asks_our_model(tiny_llama, tmp_path):
    """Its own arithmetic over our answers gives what `--task` gives."""
    write_task(tmp_path, CHOICE)
    code = (
        "import sys; from lm_eval.tasks import TaskManager as T; import lm_eval.tasks as t; "
        "t.TaskManager = lambda: T(include_path='.', include_defaults=False); "
        "from tfcli.commands.app import main; main(sys.argv[1:])"
    )
    words = ["eval", str(tiny_llama), "--json", "-q"]

    def measured(*flags):
        done = subprocess.run(
            [PYTHON, "-c", code, *words, *flags], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:] + done.stdout
        return json.loads(done.stdout)

    theirs, ours = measured("--harness", "choose"), measured("--task", "choose.yaml")
    values = {measure["name"]: measure["value"] for measure in theirs["measures"]}
    for measure in ours["measures"]:
        assert values[measure["name"]] == pytest.approx(measure["value"], abs=1e-6)
    assert theirs["conditions"]["backend"].startswith("tfcli, asked by lm_eval")
