"""`tfcli estimate`: what it says, what it suggests, what it refuses."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.train.conftest import make_spec, texts  # noqa: F401 - the small training
from tfcli.commands.app import run

ON_GPU = ("--device", "cuda")  # of which tensors alone are counted


@pytest.fixture
def recipe(make_spec, tmp_path):  # noqa: F811
    """A recipe of a training, with some keys changed."""

    def write(**changes):
        spec = make_spec(**changes).model_dump(mode="json", exclude_unset=True)
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump({"command": "train", **spec}))
        return str(path)

    return write


def said(capsys, *words):
    code = run(["estimate", *words, "--json"])
    found = json.loads(capsys.readouterr().out)
    return code, found


def test_a_training_is_its_parts(recipe, capsys):
    code, found = said(capsys, recipe(), *ON_GPU)
    assert code == 0
    assert found["bytes"] == sum(part["bytes"] for part in found["parts"])
    sizes = {part["name"]: part["bytes"] for part in found["parts"]}
    assert sizes["weights"] == 4 * found["parameters"]
    assert (found["strategy"], found["precision"], found["fits"]) == ("single", "float32", None)


def test_the_program_itself_is_measured_on_the_cpu(recipe, capsys):
    _, found = said(capsys, recipe())
    sizes = {part["name"]: part["bytes"] for part in found["parts"]}
    assert 100 * 10**6 < sizes["runtime"] < 2 * 10**9


def test_another_strategy_and_number_of_processes(recipe, capsys):
    _, alone = said(capsys, recipe(), *ON_GPU)
    _, spread = said(capsys, recipe(), "--world-size", "8", "--strategy", "fsdp", *ON_GPU)
    assert (spread["strategy"], spread["processes"]) == ("fsdp", 8)
    assert spread["bytes"] < alone["bytes"]


def test_changes_end_with_one_that_fits(recipe, capsys):
    path = recipe(batch_size=8, config={**LARGER})
    _, found = said(capsys, path, *ON_GPU)
    _, small = said(capsys, path, "--memory", str(found["bytes"] * 2 // 3), *ON_GPU)
    assert small["fits"] is False
    last = small["changes"][-1]
    assert last["fits"]
    words = [f"--set={key}={json.dumps(value)}" for key, value in last["keys"].items()]
    _, changed = said(capsys, path, *words, *ON_GPU)
    assert changed["bytes"] == last["bytes"]


LARGER = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
}


def test_a_model_that_reads_texts(tiny_llama, capsys):
    _, short = said(capsys, str(tiny_llama), "--context", "32", *ON_GPU)
    _, long = said(capsys, str(tiny_llama), "--context", "128", *ON_GPU)
    cache = [
        next(part["bytes"] for part in each["parts"] if part["name"] == "weights")
        for each in (short, long)
    ]
    assert cache[0] == cache[1] == 4 * short["parameters"]
    assert long["bytes"] > short["bytes"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--strategy", "zero4"), "should be 'single'"),
        (("--strategy", "single", "--world-size", "2"), "of one process"),
        (("--strategy", "ddp"), "of several processes"),
        (("--memory", "much"), "size"),
    ],
)
def test_what_does_not_fit_is_named(words, what, recipe, capsys):
    code, found = said(capsys, recipe(), *words, *ON_GPU)
    assert code == 2
    assert what in found["error"]["what"]


def test_groups_must_make_up_the_processes(recipe, capsys):
    path = recipe(strategy="fsdp", fsdp={"group_size": 3})
    code, found = said(capsys, path, "--world-size", "4", *ON_GPU)
    assert (code, found["error"]["where"]) == (2, "fsdp.group_size")


def test_a_recipe_without_such_a_step(tmp_path, capsys):
    path = tmp_path / "r.yaml"
    path.write_text("command: inspect\npath: model\n")
    code, found = said(capsys, str(path))
    assert code == 2
    assert "neither trains, quantizes nor runs" in found["error"]["what"]
