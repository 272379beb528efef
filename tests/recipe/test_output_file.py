"""An output that is a single file: its life, from its folder to its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.recipe import staging
from tfcli.recipe.execute import execute
from tfcli.recipe.recipe import load_recipe
from tfcli.recipe.record import read_record
from tfcli.recipe.spec import OutputFile, Result, Spec
from tfcli.recipe.verbs import VERBS, Verb


class WriteSpec(Spec):
    verb: ClassVar[str] = "write"
    suffix: ClassVar[str | None] = ".txt"
    resumable: ClassVar[bool] = True

    text: str = Field("hello", description="What is written.")
    output: OutputFile = Field(description="The file.")


class WriteResult(Result):
    schema_name: ClassVar[str] = "test.write/1"


def write(spec, job):
    (job.output / Path(spec.output).name).write_text(spec.text)
    if spec.text == "half":
        raise WorkError("no more")
    return WriteResult()


@pytest.fixture(autouse=True)
def _verb(monkeypatch) -> None:
    class WriteVerb(Verb):
        def spec(self):
            return WriteSpec

        def result(self):
            return WriteResult

        def run(self):
            return write

    monkeypatch.setitem(VERBS, "write", WriteVerb("Write.", "", ""))


def do(path: Path, text: str = "hello", **how: bool) -> bool:
    """Whether the step was done already."""
    return execute(WriteSpec(output=str(path), text=text), Console.silent(), **how).reused


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_file_takes_its_name_and_its_record_stays_beside_it(tmp_path) -> None:
    path = tmp_path / "a.txt"
    assert not do(path)
    assert path.read_text() == "hello"
    assert names(tmp_path) == {"a.txt", ".a.txt.run.json"}
    assert read_record(path)["files"].keys() == {"a.txt"}
    assert do(path)
    with pytest.raises(UsageError, match="made by another write run"):
        do(path, "other")
    assert not do(path, "other", force=True)
    assert path.read_text() == "other" and names(tmp_path) == {"a.txt", ".a.txt.run.json"}


def test_a_file_that_was_not_written_so_is_never_replaced(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="is not as tfcli wrote it"):
            do(path, force=force)
    assert path.read_text() == "mine"
    path.unlink()
    do(path)
    path.write_text("edited")
    with pytest.raises(UsageError, match="is not as tfcli wrote it"):
        do(path, force=True)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        do(path)
    path.rmdir()
    path.symlink_to("elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        do(path)


def test_what_a_failed_run_leaves_is_no_output(tmp_path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(WorkError, match="no more"):
        do(path, "half")
    assert names(tmp_path) == {".a.txt.partial"}
    with pytest.raises(UsageError, match="interrupted write with other options"):
        do(path)
    assert not do(path, force=True)
    assert names(tmp_path) == {"a.txt", ".a.txt.run.json"}


@pytest.mark.parametrize("step", ["_take_name", "_finish", "record"])
@pytest.mark.parametrize("before", [False, True])
def test_a_process_that_dies_while_it_names_is_gone_on_from(
    tmp_path, monkeypatch, step, before
) -> None:
    path = tmp_path / "a.txt"
    if before:
        do(path, "old")

    def dies(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as change:
        if step == "record":  # between the two names
            change.setattr(staging, "record_path", dies)
        else:
            change.setattr(staging, step, dies)
        with pytest.raises(KeyboardInterrupt):
            do(path, force=before)
    assert path.exists() or not before
    assert do(path)  # it was whole already
    assert path.read_text() == "hello" and names(tmp_path) == {"a.txt", ".a.txt.run.json"}


def test_a_step_of_a_recipe_is_named_with_its_suffix(tmp_path) -> None:
    recipe = tmp_path / "two.yaml"
    steps = {"one": {"command": "write"}, "two": {"command": "write", "text": "${one}"}}
    recipe.write_text(json.dumps({"name": "two", "output": str(tmp_path / "runs"), "steps": steps}))
    one, two = load_recipe(recipe).steps
    assert one.spec.target() == two.spec.text == str(tmp_path / "runs/one.txt")


def test_what_cannot_be_deleted_beside_a_whole_file_is_told(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.txt"

    def stuck(*given: object) -> None:
        raise PermissionError(1, "Not permitted", "a")

    with monkeypatch.context() as change:
        change.setattr(staging, "discard", stuck)
        assert not do(path)
    assert path.read_text() == "hello"
    assert do(path) and names(tmp_path) == {"a.txt", ".a.txt.run.json"}


def test_steps_that_overrides_alone_give(tmp_path) -> None:
    recipe = tmp_path / "one.json"
    recipe.write_text(json.dumps({"output": str(tmp_path / "runs"), "steps": None}))
    (step,) = load_recipe(recipe, sets={"steps.one.command": "write"}).steps
    assert step.spec.target() == str(tmp_path / "runs/one.txt")


def test_a_recipe_does_a_finished_step_no_second_time(tmp_path, capsys) -> None:
    from tfcli.commands.app import run

    recipe = tmp_path / "one.yaml"
    steps = {"one": {"command": "write"}}
    recipe.write_text(json.dumps({"name": "one", "output": str(tmp_path / "runs"), "steps": steps}))
    for reused in (False, True):
        assert run(["run", str(recipe), "--json"]) == 0
        (step,) = json.loads(capsys.readouterr().out)["steps"]
        assert step["reused"] is reused and step["output"].endswith("one.txt")
    assert run(["run", str(recipe), "--set", "steps.one.text=other", "--json"]) == 0
    assert (tmp_path / "runs/one.txt").read_text() == "other"
