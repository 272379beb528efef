"""Steps are skipped when done, run again when anything changed, and never half written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tfcli.console import Console
from tfcli.data.spec import DataSpec
from tfcli.digest_cache import identity_of
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute
from tfcli.recipe.record import read_record

TEXT = "\n\n".join(f"Paragraph number {n} says something of its own." for n in range(200))


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for n in range(8):
        (folder / f"{n}.txt").write_text(TEXT.replace("number", f"{n} number"))
    return folder


def prepare(texts: Path, output: Path, **options):
    spec = DataSpec(source=str(texts), output=str(output), validation=0.2, test=0.2, **options)
    return lambda **flags: execute(spec, Console.silent(), **flags)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "run.json"}


def test_a_finished_step_is_not_run_again_wherever_its_inputs_lie(texts, tmp_path):
    first = prepare(texts, tmp_path / "out")()
    moved = texts.rename(tmp_path / "moved")
    second = prepare(moved, tmp_path / "out")()
    assert (first.reused, second.reused) == (False, True)
    assert second.result == first.result


def test_force_and_a_damaged_artifact_run_it_again(texts, tmp_path):
    run = prepare(texts, tmp_path / "out")
    run()
    assert run(force=True).reused is False
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "train.jsonl").write_text("damaged")
    assert run().reused is False
    assert contents(tmp_path / "out") == before


def test_a_changed_input_or_option_needs_a_word_before_it_replaces_an_artifact(texts, tmp_path):
    prepare(texts, tmp_path / "out")()
    with pytest.raises(UsageError, match="--force"):
        prepare(texts, tmp_path / "out", seed=1)()
    assert prepare(texts, tmp_path / "out", seed=1)(replace=True).reused is False
    (texts / "0.txt").write_text("Another text altogether.")
    with pytest.raises(UsageError, match="--force"):
        prepare(texts, tmp_path / "out", seed=1)()


def test_a_folder_with_other_files_is_never_touched_even_with_force(texts, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    for flags in ({}, {"force": True}, {"replace": True}):
        with pytest.raises(UsageError, match="did not make"):
            prepare(texts, tmp_path / "out")(**flags)
    assert contents(tmp_path / "out") == {"thesis.txt": b"years of work"}


def test_an_output_that_is_a_file_or_a_link_is_refused(texts, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for name in ("file", "link"):
        with pytest.raises(UsageError, match="is there and is"):
            prepare(texts, tmp_path / name)()


def test_a_missing_input_is_named_before_anything_is_made(texts, tmp_path):
    with pytest.raises(UsageError) as error:
        prepare(texts / "none", tmp_path / "deep" / "out")()
    assert error.value.where == "source"
    assert not (tmp_path / "deep").exists()


def test_a_failed_step_leaves_the_earlier_artifact_and_nothing_else(texts, tmp_path):
    prepare(texts, tmp_path / "out")()
    before = contents(tmp_path / "out")
    for path in texts.iterdir():
        path.write_bytes(b"\xff\xfe not text")
    with pytest.raises(Exception, match="UTF-8"):
        prepare(texts, tmp_path / "out")(force=True)
    assert contents(tmp_path / "out") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "texts"]


def test_the_record_says_what_was_made_from_what(texts, tmp_path):
    prepare(texts, tmp_path / "out")()
    record = read_record(tmp_path / "out")
    assert record["command"] == "data"
    assert record["spec"]["seed"] == 0
    assert set(record["inputs"]) == {str(texts)}
    assert set(record["files"]) == set(contents(tmp_path / "out"))
    assert record["versions"]["tfcli"] and record["machine"]["cores"] >= 1


def test_two_processes_do_not_write_the_same_output(texts, tmp_path):
    import fcntl

    partial = tmp_path / ".out.partial"
    partial.mkdir()
    other = os.open(partial, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(Exception, match="another tfcli process"):
        prepare(texts, tmp_path / "out")()
    assert partial.exists()
    os.close(other)


def test_ctrl_c_exits_with_130_and_leaves_nothing(texts, tmp_path):
    code = (
        "import _thread, signal, sys\n"
        # Shells let what they start in the background ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tfcli.commands.app import main\nimport tfcli.data.run as verb\n"
        "verb.run = lambda spec, job: _thread.interrupt_main() or [None for _ in range(10**7)]\n"
        f"main(['data', {str(texts)!r}, {str(tmp_path / 'out')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")
    assert [p.name for p in tmp_path.iterdir()] == ["texts"]


def test_an_interrupted_command_says_so_in_json_too(texts, tmp_path):
    code = (
        "import _thread, signal, sys\n"
        # Shells let what they start in the background ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tfcli.commands.app import main\nimport tfcli.data.run as verb\n"
        "verb.run = lambda spec, job: _thread.interrupt_main() or [None for _ in range(10**7)]\n"
        f"main(['data', {str(texts)!r}, {str(tmp_path / 'out')!r}, '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert (answer["exit_code"], answer["error"]["code"]) == (130, "interrupted")


def test_a_full_disk_is_an_error_that_says_so(texts, tmp_path):
    """On a 64 KiB file system of its own, in a mount namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    tfcli = f"{sys.executable} -m tfcli.commands data {texts} {disk}/out --json"
    script = f"mount -t tmpfs -o size=64k none {disk} && {tfcli}; code=$?; ls -A {disk}; exit $code"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
    )
    error, *listing = done.stdout.splitlines()
    assert done.returncode == 1, done.stderr
    assert json.loads(error)["error"]["what"] == "the disk is full"
    assert json.loads(error)["error"]["code"] == "disk.full"
    assert listing == []


def test_what_a_library_prints_is_not_among_the_results(texts, tmp_path):
    code = (
        "from tfcli.commands.app import main\nimport tfcli.data.run as verb\nwork = verb.run\n"
        "verb.run = lambda spec, job: print('hello from a library') or work(spec, job)\n"
        f"main(['data', {str(texts)!r}, {str(tmp_path / 'out')!r}, '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout)["schema"] == "tfcli.data/1"
    assert "hello from a library" in done.stderr


def test_a_damaged_record_needs_a_word_and_no_more(texts, tmp_path):
    run = prepare(texts, tmp_path / "out")
    run()
    record = tmp_path / "out/run.json"
    for damage in (lambda text: text[:60], lambda text: text.replace('"files": {', '"files": [{')):
        record.write_text(damage(record.read_text()))
        with pytest.raises(UsageError, match="is damaged") as caught:
            run()
        assert "--force" in caught.value.fix
        assert run(force=True).reused is False
        assert run().reused is True


def test_an_input_that_changes_while_it_is_read_leaves_nothing(texts, tmp_path):
    (texts / "photo.png").write_bytes(b"no text")

    class Meanwhile(Console):
        """Another program writes while the step reads: it says here what it does not read."""

        def warn(self, message):
            (texts / "0.txt").write_text("Another text altogether.")

    spec = DataSpec(source=str(texts), output=str(tmp_path / "out"), validation=0.2, test=0.2)
    with pytest.raises(WorkError, match="was changed while") as caught:
        execute(spec, Meanwhile(quiet=True))
    assert caught.value.where == str(texts / "0.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["texts"]


def test_an_edited_figure_runs_the_step_again(texts, tmp_path):
    run = prepare(texts, tmp_path / "out")
    true = run().result
    record = tmp_path / "out/run.json"
    values = json.loads(record.read_text())
    values["result"]["documents"] += 1
    record.write_text(json.dumps(values))
    again = run()
    assert (again.reused, again.result) == (False, true)


def test_a_full_check_finds_what_size_and_times_hide(texts, tmp_path, monkeypatch):
    run = prepare(texts, tmp_path / "out")
    run()
    known = {}  # a machine that has seen this very file with another content
    monkeypatch.setattr(
        "tfcli.files._digests",
        lambda: SimpleNamespace(find=known.get, remember=lambda *_: None),
    )
    path = tmp_path / "out/train.jsonl"
    known_before = read_record(tmp_path / "out")["files"]["train.jsonl"]["sha256"]
    content = path.read_bytes()
    path.write_bytes(content[::-1])
    known[identity_of(path.stat())] = known_before
    assert run().reused is True
    assert run(anew=True).reused is False
    assert path.read_bytes() == content
