"""A process that dies, or is in another's way, loses nothing that is finished."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.train.conftest import sentences
from tfcli.console import Console
from tfcli.data.spec import DataSpec
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute
from tfcli.recipe.place import COMPLETE, Mark, Place, identity
from tfcli.recipe.record import read_record
from tfcli.recipe.staging import staged


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts."""
    home = tmp_path_factory.mktemp("home")
    (home / "texts").mkdir()
    for number, text in enumerate(sentences(0)):
        (home / "texts" / f"{number}.txt").write_text(text)
    return home


def contents(folder: Path) -> dict[str, bytes] | None:
    """Every file of an artifact but its record, which has times in it; None without a record."""
    if read_record(folder) is None:
        return None
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "run.json"}


def complete(place: Place, replaces: str | None = None) -> None:
    """What is under the name becomes what a killed run of the same options completed."""
    place.output.rename(place.partial)
    Mark("data", None, False, replaces).write(place.partial)
    (place.partial / ".key.json").rename(place.partial / COMPLETE)


def run_data(home: Path, output: Path, **flags: bool) -> bool:
    spec = DataSpec(source=str(home / "texts"), output=str(output), test=0.2)
    return execute(spec, Console.silent(), **flags).reused


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
@pytest.mark.parametrize("hidden", ["partial", "old"])
def test_a_neighbour_that_tfcli_did_not_make_is_refused_and_left(home, tmp_path, hidden, kind):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "thesis.txt").write_text("years of work")
    place = tmp_path / f".out.{hidden}"
    if kind == "folder":
        thesis = thesis.rename(place)
    elif kind == "link":
        place.symlink_to(thesis)
    else:
        place.write_text("years of work")
    for flags in ({}, {"force": True}, {"replace": True}):
        with pytest.raises(UsageError, match=f"out.{hidden} is in the way"):
            run_data(home, tmp_path / "out", **flags)
    assert (place if kind == "file" else thesis / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("taken", ["out", ".out.old"])
def test_work_whose_name_is_taken_meanwhile_is_kept_and_named_later(home, tmp_path, taken):
    run_data(home, tmp_path / "out")
    place = Place(tmp_path / "out")
    spec = DataSpec(source=str(home / "texts"), output=str(place.output), test=0.2)
    record = read_record(place.output)
    with (
        pytest.raises(WorkError, match="cannot take its name") as error,
        staged(place, spec, None, Console.silent(), force=True, replace=False) as folder,
    ):
        shutil.copytree(place.output, folder, dirs_exist_ok=True)
        if taken == "out":
            shutil.rmtree(place.output)
        (tmp_path / taken).write_text("years of work")
    assert str(place.partial) in error.value.fix
    assert read_record(place.partial) == record
    assert (tmp_path / taken).read_text() == "years of work"
    (tmp_path / taken).unlink()
    assert run_data(home, place.output) is True
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_complete_work_of_other_options_is_discarded_only_when_asked(home, tmp_path):
    run_data(home, tmp_path / "out")
    complete(Place(tmp_path / "out"))
    other = DataSpec(source=str(home / "texts"), output=str(tmp_path / "out"), test=0.5)
    with pytest.raises(UsageError, match="an interrupted data with other options"):
        execute(other, Console.silent())
    assert read_record(tmp_path / ".out.partial") is not None
    assert execute(other, Console.silent(), force=True).reused is False
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_complete_work_that_is_damaged_is_made_again(home, tmp_path):
    run_data(home, tmp_path / "out")
    whole = contents(tmp_path / "out")
    complete(Place(tmp_path / "out"))
    (tmp_path / ".out.partial/train.jsonl").write_text("damaged")
    assert run_data(home, tmp_path / "out") is False
    assert contents(tmp_path / "out") == whole


def test_an_old_artifact_is_not_put_back_into_a_running_renaming(home, tmp_path):
    """Another process has just moved it away, and holds the folder that comes in its place."""
    place = Place(tmp_path / "out")
    run_data(home, place.output)
    old = identity(place.output)
    place.output.rename(place.old)
    shutil.copytree(place.old, place.output)
    complete(place, replaces=old)
    other = os.open(place.partial, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(WorkError, match="another tfcli process"):
        run_data(home, place.output)
    assert not place.output.exists()
    os.close(other)
    assert run_data(home, place.output) is True
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_complete_work_does_not_replace_what_has_taken_its_name_since(home, tmp_path):
    """Another artifact than the one that the killed run was to replace; --force is for this."""
    place = Place(tmp_path / "out")
    run_data(home, place.output)
    complete(place)
    other = DataSpec(source=str(home / "texts"), output=str(tmp_path / "other"), test=0.5)
    execute(other, Console.silent())
    (tmp_path / "other").rename(place.output)
    before = contents(place.output)
    with pytest.raises(WorkError, match="put there meanwhile"):
        run_data(home, place.output)
    assert contents(place.output) == before
    assert read_record(place.partial) is not None
    assert run_data(home, place.output, force=True) is False
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("hidden", ["partial", "old"])
def test_a_copy_of_an_artifact_that_a_user_made_is_refused_and_left(home, tmp_path, hidden):
    """It has a record, but no run of this output left it there."""
    run_data(home, tmp_path / "out")
    copy = tmp_path / f".out.{hidden}"
    shutil.copytree(tmp_path / "out", copy)
    for flags in ({}, {"force": True}, {"replace": True}):
        with pytest.raises(UsageError, match=f"out.{hidden} is in the way"):
            run_data(home, tmp_path / "out", **flags)
    assert contents(copy) == contents(tmp_path / "out")


@pytest.mark.parametrize("target", ["nothing", "artifact"])
@pytest.mark.parametrize("name", ["out", ".out.partial", ".out.old"])
def test_a_link_in_an_outputs_place_is_refused_and_left(home, tmp_path, name, target):
    """Also one that leads to nothing, or to what tfcli made."""
    run_data(home, tmp_path / "artifact")
    (tmp_path / name).symlink_to(tmp_path / target)
    for flags in ({}, {"force": True}, {"replace": True}):
        with pytest.raises(UsageError, match=f"{name} is") as error:
            run_data(home, tmp_path / "out", **flags)
        assert error.value.code == "output.not_empty"
    assert (tmp_path / name).is_symlink()
    assert contents(tmp_path / "artifact") is not None


@pytest.mark.parametrize("name", ["notes.txt", ".notes", "deep/er/notes.txt", "link"])
def test_a_users_file_inside_of_an_artifact_is_named_and_left(home, tmp_path, name):
    """Reading the finished artifact stays possible; replacing it does not."""
    run_data(home, tmp_path / "out")
    notes = tmp_path / "out" / name
    notes.parent.mkdir(parents=True, exist_ok=True)
    if name == "link":
        notes.symlink_to(tmp_path / "nowhere")
    else:
        notes.write_text("years of work")
    assert run_data(home, tmp_path / "out") is True
    other = DataSpec(source=str(home / "texts"), output=str(tmp_path / "out"), test=0.5)
    for flags in ({"force": True}, {"replace": True}):
        with pytest.raises(UsageError, match=f"did not make: {name}"):
            execute(other, Console.silent(), **flags)
    assert os.path.lexists(notes)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_users_file_that_comes_while_the_work_is_done_is_left_too(home, tmp_path):
    place = Place(tmp_path / "out")
    run_data(home, place.output)
    spec = DataSpec(source=str(home / "texts"), output=str(place.output), test=0.2)
    with (
        pytest.raises(WorkError, match=r"did not make: notes\.txt"),
        staged(place, spec, None, Console.silent(), force=True, replace=False) as folder,
    ):
        shutil.copytree(place.output, folder, dirs_exist_ok=True)
        (place.output / "notes.txt").write_text("years of work")
    (place.output / "notes.txt").rename(tmp_path / "notes.txt")
    assert run_data(home, place.output) is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "out"]


def test_a_read_only_artifact_is_replaced_and_nothing_of_it_is_left(home, tmp_path):
    run_data(home, tmp_path / "out")
    for path in (*(tmp_path / "out").iterdir(), tmp_path / "out"):
        path.chmod(path.stat().st_mode & ~stat.S_IWUSR)
    assert run_data(home, tmp_path / "out", force=True) is False
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_system_without_locks_is_named_as_one(home, tmp_path, monkeypatch, capsys):
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    spec = DataSpec(source=str(home / "texts"), output=str(tmp_path / "out"), test=0.2)
    assert execute(spec, Console()).reused is False
    said = " ".join(capsys.readouterr().err.split())
    assert "has no locks" in said and "No locks available" in said


def test_a_users_file_that_comes_in_the_last_moment_is_kept_and_told(home, tmp_path, capsys):
    """Between the look and the renaming; what was replaced is deleted when the file is gone."""
    place = Place(tmp_path / "out")
    run_data(home, place.output)
    old = identity(place.output)
    place.output.rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", place.output)
    Mark("data", None, False, old).write(place.output)
    (place.output / ".key.json").rename(place.output / COMPLETE)
    (tmp_path / "old").rename(place.partial)
    notes = place.partial / "notes.txt"
    notes.write_text("years of work")
    assert run_data(home, place.output) is True
    said = " ".join(capsys.readouterr().err.split())
    assert "could not be deleted" in said and "did not make: notes.txt" in said
    with pytest.raises(UsageError, match=r"did not make: notes\.txt"):
        run_data(home, place.output, force=True)
    assert notes.read_text() == "years of work"
    notes.unlink()
    assert run_data(home, place.output) is True
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
