"""A process that dies, or is in another's way, loses nothing that is finished."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.conftest import sentences
from tests.warm import Warm, warm
from tfcli.console import Console
from tfcli.data.spec import DataSpec
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute
from tfcli.recipe.record import read_record
from tfcli.recipe.staging import MARK, Place, staged
from tfcli.tokenizers.run import train_bpe, write_tokenizer

CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, a tokenizer and a recipe that trains on them."""
    home = tmp_path_factory.mktemp("home")
    (home / "texts").mkdir()
    for number, text in enumerate(sentences(0)):
        (home / "texts" / f"{number}.txt").write_text(text)
    (home / "tokenizer").mkdir()
    write_tokenizer(train_bpe(sentences(0), 300), home / "tokenizer")
    (home / "train.jsonl").write_text(json.dumps({"text": sentences(0)[0]}))
    recipe = {
        "config": CONFIG,
        "tokenizer": str(home / "tokenizer"),
        "data": str(home / "train.jsonl"),
        "sequence_length": 16,
        "max_steps": 3,
        "checkpoint_every": 2,
        "batch_size": 1,
        "precision": "float32",
        "device": "cpu",
    }
    (home / "recipe.json").write_text(json.dumps(recipe))
    return home


@pytest.fixture(scope="module")
def process(home: Path) -> Iterator[Warm]:
    """A process that has imported what the commands here need."""
    with warm(home) as loaded:
        for command in (data(home, home / "data"), train(home, home / "train")):
            assert loaded.load(*command).code == 0
        yield loaded


def data(home: Path, output: Path, seed: int = 0) -> list[str]:
    return ["data", str(home / "texts"), str(output), "--test", "0.2", "--seed", str(seed)]


def train(home: Path, output: Path) -> list[str]:
    return ["train", str(home / "recipe.json"), "--output", str(output)]


def contents(folder: Path) -> dict[str, bytes] | None:
    """Every file of an artifact but its record, which has times in it; None without a record."""
    if read_record(folder) is None:
        return None
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "run.json"}


def test_a_death_at_any_change_of_files_leaves_a_first_artifact_whole_or_to_be_made(
    process, home, tmp_path
):
    """Each time one change further, until the command comes through."""
    new, out = contents(home / "data"), tmp_path / "out"
    deaths = 0
    while process.run(*data(home, out), dies_at=deaths + 1).code is None:
        deaths += 1
        assert not out.exists() or contents(out) == new
        assert process.run(*data(home, out)).code == 0
        assert contents(out) == new
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        shutil.rmtree(out)
    assert deaths > 20


def test_a_death_at_any_change_of_files_leaves_the_old_artifact_or_the_new_one_whole(
    process, home, tmp_path
):
    new, out = contents(home / "data"), tmp_path / "out"
    place = Place(out)
    assert process.run(*data(home, tmp_path / "before", seed=1)).code == 0
    old = contents(tmp_path / "before")
    assert old != new
    deaths = completed = 0
    shutil.copytree(tmp_path / "before", out)
    while process.run(*data(home, out), "--force", dies_at=deaths + 1).code is None:
        deaths += 1
        assert old in map(contents, (out, place.old)) or contents(out) == new
        if (place.partial / "run.json").exists() and not (place.partial / MARK).exists():
            # It lacks its name alone: the next run gives it, and does not make it again.
            made = (place.partial / "run.json").read_bytes()
            assert process.run(*data(home, out)).code == 0
            assert (out / "run.json").read_bytes() == made
            completed += 1
        else:
            assert process.run(*data(home, out), "--force").code == 0
        assert contents(out) == new
        assert sorted(path.name for path in tmp_path.iterdir()) == ["before", "out"]
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "before", out)
    assert deaths > 20 and completed >= 3


def test_a_death_at_changes_of_files_after_a_checkpoint_loses_nothing_of_a_training(
    process, home, tmp_path
):
    """The next run goes on from the checkpoint, or gives what is complete its name."""
    names = {path.name for path in (home / "train").iterdir()}
    weights, out = (home / "train/model.safetensors").read_bytes(), tmp_path / "out"
    place = Place(out)
    number, deaths = 1, {"staged": 0, "complete": 0, "named": 0}
    while process.run(*train(home, out), dies_at=number).code is None:
        recorded = (place.partial / "run.json").exists()
        if not (place.partial / "checkpoint-2").exists() and not recorded and not out.exists():
            number += 5  # before the checkpoint there is nothing to lose
            shutil.rmtree(place.partial, ignore_errors=True)
            continue
        number += 1 if recorded or out.exists() else 5
        found = out if out.exists() else place.partial
        state = "named" if out.exists() else "staged" if (found / MARK).exists() else "complete"
        made = None if state == "staged" else (found / "run.json").read_bytes()
        deaths[state] += 1
        assert process.run(*train(home, out)).code == 0
        if made is None:
            assert read_record(out)["result"]["resumed_from"] == 2
        else:
            assert (out / "run.json").read_bytes() == made
        assert (out / "model.safetensors").read_bytes() == weights
        assert {path.name for path in out.iterdir()} == names
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        shutil.rmtree(out)
    assert deaths["staged"] > 10 and deaths["complete"] and deaths["named"] > 3


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
    (tmp_path / "out").rename(tmp_path / ".out.partial")
    other = DataSpec(source=str(home / "texts"), output=str(tmp_path / "out"), test=0.5)
    with pytest.raises(UsageError, match="an interrupted data with other options"):
        execute(other, Console.silent())
    assert read_record(tmp_path / ".out.partial") is not None
    assert execute(other, Console.silent(), force=True).reused is False
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_complete_work_that_is_damaged_is_made_again(home, tmp_path):
    run_data(home, tmp_path / "out")
    whole = contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.partial")
    (tmp_path / ".out.partial/train.jsonl").write_text("damaged")
    assert run_data(home, tmp_path / "out", force=True) is False
    assert contents(tmp_path / "out") == whole


def test_an_old_artifact_is_not_put_back_into_a_running_renaming(home, tmp_path):
    """Another process has just moved it away, and holds the folder that comes in its place."""
    run_data(home, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    (tmp_path / ".out.partial").mkdir()
    other = os.open(tmp_path / ".out.partial", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(WorkError, match="another tfcli process"):
        run_data(home, tmp_path / "out")
    os.close(other)
    assert not (tmp_path / "out").exists()
    assert run_data(home, tmp_path / "out") is True


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
