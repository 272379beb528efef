"""An output that is, holds or lies in what is read is refused before the work, however spelt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from tfcli.commands.app import run
from tfcli.recipe.apart import overlaps
from tfcli.recipe.overrides import overlay
from tfcli.recipe.spec import EACH, role_of, walk_fields
from tfcli.recipe.verbs import VERBS


@pytest.fixture
def tfcli(tmp_path, monkeypatch, capsys) -> Callable[..., dict]:
    """A folder with texts and an artifact `run` of them; runs a command line, gives its JSON."""
    monkeypatch.chdir(tmp_path)
    for place in ("texts", "run/texts"):
        Path(place).mkdir(parents=True)
        for n in range(8):
            Path(place, f"{n}.txt").write_text(f"Text {n} says something.\n\nAnd one thing more.")

    def call(*words: str, code: int = 0) -> dict:
        capsys.readouterr()
        assert run([*words, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    shutil.rmtree("run")
    call("data", "texts", "run")
    return call


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("source", "output", "how"),
    [
        ("run", "run", "is"),
        ("run", "run/../run", "is"),
        ("run", "link", "is"),
        ("run", "./linked/run", "is"),
        ("link", "run", "is"),
        ("run/train.jsonl", "run", "holds"),
        ("run/../run/train.jsonl", "run", "holds"),
        ("link/train.jsonl", "run", "holds"),
        ("file", "run", "holds"),
        ("aside", "run", "holds"),
        ("texts", "texts/out", "lies in"),
        (".", "out", "lies in"),
        ("linked/texts", "texts/deep/out", "lies in"),
        ("with-folder", "texts/out", "lies in"),
    ],
)
def test_it_is_refused_also_with_force(tfcli, tmp_path, source, output, how):
    Path("link").symlink_to("run")
    Path("linked").symlink_to(tmp_path)
    Path("file").symlink_to("run/train.jsonl")
    for folder, inner in (("aside", "../run/train.jsonl"), ("with-folder", "../texts")):
        Path(folder).mkdir()
        Path(folder, "train.jsonl").symlink_to(inner)
    before = tree(tmp_path)
    for flags in ([], ["--force"]):
        error = tfcli("data", source, output, *flags, code=2)["error"]
        assert (error["code"], error["where"]) == ("output.overlaps", "source")
        assert f"{how} {source}" in error["what"]
    assert tree(tmp_path) == before


def test_a_spelling_through_the_output_itself_is_the_output(tfcli, tmp_path):
    tfcli("data", "texts", "run/../run", "--force")
    tfcli("data", "texts", "new/../run", "--force")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "texts"]


def test_what_an_interrupted_run_of_the_output_holds_is_no_source_of_it(tfcli):
    """Its folder is cleared before the work."""
    Path("run").rename(".out.partial")
    error = tfcli("data", ".out.partial/train.jsonl", "out", code=2)["error"]
    assert error["code"] == "output.overlaps"


def test_the_hubs_cache_of_a_model_is_no_place_for_what_is_made_of_it(tfcli, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    snapshot = tmp_path / "cache/models--org--name/snapshots/abc"
    blob = tmp_path / "cache/models--org--name/blobs/123"
    for folder in (snapshot, blob.parent):
        folder.mkdir(parents=True)
    blob.write_text("{}")
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    for model in ("org/name", "org/name@abc", str(snapshot), str(snapshot / "model.safetensors")):
        for output in (snapshot, blob.parent):
            error = tfcli("convert", model, str(output), "--force", code=2)["error"]
            assert (error["code"], error["where"]) == ("output.overlaps", "source")


@pytest.mark.parametrize("verb", VERBS)
def test_it_is_so_for_every_input_of_every_command(tfcli, verb):
    cls = VERBS[verb].spec()
    keys = [key for key, field in walk_fields(cls) if role_of(field) in ("input", "model")]
    keys = [key.replace(EACH, "vision") for key in keys]
    assert keys
    for key in keys:
        values = overlay({}, dict.fromkeys(keys, "texts") | {key: "run"})
        assert [problem.where for problem in overlaps(values, ["run"], cls=cls)] == [key]


RECIPE = """\
output: out
steps:
  first: {{command: data, source: {first}, test: 0.2}}
  second: {{command: data, source: {second}, test: 0.2}}
"""


@pytest.mark.parametrize(
    ("first", "second", "step"),
    [
        ("out/second", "texts", "first"),
        ("texts", "out", "second"),
        ("texts", ".", "second"),
        ("texts", "out/second/train.jsonl", "second"),
        ("through", "texts", "first"),
    ],
)
def test_no_step_replaces_what_another_reads_from_outside(tfcli, first, second, step):
    """Before the first one runs, and when the recipe is only looked at."""
    shutil.copytree("run", "out/second")
    Path("through").symlink_to("out/second")
    before = tree(Path())
    Path("r.yaml").write_text(RECIPE.format(first=first, second=second))
    errors = tfcli("recipe", "validate", "r.yaml", code=2)["error"]
    assert "output.overlaps" in json.dumps(errors)
    for flags in ([], ["--force"]):
        error = tfcli("run", "r.yaml", *flags, code=2)["error"]
        assert error["step"] == step and "output.overlaps" in json.dumps(error)
    Path("r.yaml").unlink()
    assert tree(Path()) == before


@pytest.mark.parametrize("second", ["${first}", "${first}/train.jsonl", "./out/first"])
def test_a_step_reads_what_an_earlier_one_makes(tfcli, second):
    Path("r.yaml").write_text(RECIPE.format(first="texts", second=f"'{second}'"))
    tfcli("run", "r.yaml")
    tfcli("recipe", "validate", "r.yaml")
