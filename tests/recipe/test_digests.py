"""Inputs are hashed once, beside the work, and the hashes are of what the step has read."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

import pytest

from tfcli.convert.spec import ConvertSpec
from tfcli.data.spec import DataSpec
from tfcli.errors import WorkError
from tfcli.evaluate.spec import EvalSpec
from tfcli.generation.spec import GenerateSpec
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe import content
from tfcli.recipe.digests import InputDigests
from tfcli.recipe.record import step_key
from tfcli.recipe.spec import Spec
from tfcli.train.spec import TrainSpec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def spec(path: Path) -> ConvertSpec:
    return ConvertSpec(source=str(path), output="out")


def test_the_hash_is_that_of_the_content(path, spec):
    assert dict(InputDigests(spec)) == {str(path): hashlib.sha256(b"content").hexdigest()}


def test_hashing_goes_on_beside_the_work_and_is_done_once(path, spec, monkeypatch):
    go_on, threads = threading.Event(), []
    real = content.read_digest

    def slow(*given, **options):
        threads.append(threading.current_thread())
        assert go_on.wait(60)
        return real(*given, **options)

    monkeypatch.setattr(content, "read_digest", slow)
    found = InputDigests(spec)
    found.start()  # comes back although nothing is hashed yet
    found.start()
    go_on.set()
    assert found[str(path)] == hashlib.sha256(b"content").hexdigest()
    assert len(found) == 1
    assert len(threads) == 1 and threads[0] is not threading.main_thread()
    assert threads[0].daemon  # a step that failed does not wait for it


def test_a_file_that_cannot_be_hashed_is_an_error_where_the_hash_is_wanted(path, spec, monkeypatch):
    def broken(path, **_):
        raise WorkError("the disk fails", where=str(path))

    monkeypatch.setattr(content, "read_digest", broken)
    found = InputDigests(spec)
    found.start()
    for _ in range(2):
        with pytest.raises(WorkError, match="the disk fails"):
            _ = found[str(path)]


def test_text_is_hashed_while_weights_still_are(tmp_path, path, monkeypatch):
    text = tmp_path / "t.jsonl"
    text.write_text("text")
    go_on, real = threading.Event(), content.read_digest

    def slow(file, **options):
        assert file != path or go_on.wait(60)
        return real(file, **options)

    monkeypatch.setattr(content, "read_digest", slow)
    found = InputDigests(EvalSpec(model=str(path), data=str(text)))
    found.has_read(str(text))  # does not wait for the weights
    text.write_text("another text")
    go_on.set()
    assert found.confirm() == []
    assert found[str(text)] == hashlib.sha256(b"text").hexdigest()


def overwritten(path: Path) -> None:
    path.write_bytes(b"CONTENT")


def replaced(path: Path) -> None:
    path.with_name("new").write_bytes(b"another")
    path.with_name("new").replace(path)


def gone(path: Path) -> None:
    path.unlink()


def hidden(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def joined(path: Path) -> None:
    path.with_name("config.json").write_text("{}")


@pytest.mark.parametrize("change", [overwritten, replaced, gone, hidden, joined])
@pytest.mark.parametrize("hashed", [False, True])
def test_an_input_that_changes_while_the_step_reads_is_an_error(tmp_path, change, hashed):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"content")
    spec = ConvertSpec(source=str(path), output="out")
    for ask in (InputDigests.confirm, lambda found: found.has_read(str(path))):
        path.write_bytes(b"content")
        tmp_path.joinpath("config.json").unlink(missing_ok=True)
        found = InputDigests(spec)
        if hashed:
            assert found[str(path)]
        change(path)
        with pytest.raises(WorkError, match="was changed while") as caught:
            ask(found)
        assert caught.value.where in (str(path), str(tmp_path / "config.json"))


def test_what_was_written_to_and_holds_the_same_again_belongs_to_no_later_step(path, spec):
    found = InputDigests(spec)
    key = step_key(spec, found)
    overwritten(path)
    path.write_bytes(b"content")
    assert found.confirm() == [str(path)]
    assert found[str(path)].startswith(hashlib.sha256(b"content").hexdigest())
    assert len({key, step_key(spec, found), step_key(spec, InputDigests(spec))}) == 2
    assert step_key(spec, InputDigests(spec)) == key


def test_a_further_link_or_other_permissions_change_nothing(path, spec):
    found = InputDigests(spec)
    key = step_key(spec, found)
    path.with_name("link").hardlink_to(path)
    path.chmod(0o600)
    assert found.confirm() == []
    assert step_key(spec, found) == key


def test_a_file_that_is_numbered_anew_is_the_same(path, spec):
    found = InputDigests(spec)
    content = found._contents[str(path)]
    content.found[""] = content.found[""]._replace(device=0, inode=0)
    assert found[str(path)] == hashlib.sha256(b"content").hexdigest()
    assert found.confirm() == []


def test_a_pipe_is_new_each_time(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    spec = DataSpec(source=str(tmp_path / "pipe.jsonl"), output="out")
    keys = {step_key(spec, InputDigests(spec)) for _ in range(2)}
    assert len(keys) == 2
    found = InputDigests(spec)
    found.has_read(spec.source)
    assert found.confirm() == [] and found[spec.source].startswith("read once")


def test_a_model_by_its_home_folder_is_one_that_is_here(path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent))
    named = ConvertSpec(source="~/model.gguf", output="out")
    before = keys_of(named)
    assert before == keys_of(ConvertSpec(source=str(path), output="out"))
    overwritten(path)
    assert keys_of(named) != before


def keys_of(*specs: Spec) -> list[str]:
    return [step_key(spec, InputDigests(spec)) for spec in specs]


def test_text_that_comes_with_python_counts(tmp_path, path, monkeypatch):
    topics = tmp_path / "pydoc_data/topics.py"
    topics.parent.mkdir()
    (topics.parent / "__init__.py").write_text("")
    topics.write_text("topics = {'a': 'text'}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("pydoc_data", "pydoc_data.topics"):
        monkeypatch.setitem(sys.modules, name, None)  # remembered, also where it is not there yet
        monkeypatch.delitem(sys.modules, name)
    specs = [
        DataSpec(source="python-docs", output="o"),
        QuantizeSpec(model=str(path), output="o", method="gptq"),
        QuantizeSpec(model=str(path), output="o", method="rtn"),
    ]
    before = keys_of(*specs)
    assert list(InputDigests(specs[0])) == ["python-docs"]
    topics.write_text("topics = {'a': 'another text'}\n")
    now = keys_of(*specs)
    assert [one == other for one, other in zip(before, now, strict=True)] == [False, False, True]


def test_a_word_that_is_spelt_as_an_input_stays_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"one content")
    one, other = (GenerateSpec(model=name, prompt=name) for name in ("a", "b"))
    same = GenerateSpec(model="b", prompt="a")
    assert keys_of(one) != keys_of(other)
    assert keys_of(one) == keys_of(same)


def test_an_input_in_two_roles_has_what_belongs_to_either(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    values = {"config": {"model_type": "llama"}, "max_steps": 1, "output": "o"}
    spec = TrainSpec(tokenizer=str(path), data=str(path), **values)
    before = keys_of(spec)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert keys_of(spec) != before
