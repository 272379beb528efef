"""`tfcli eval --task` on small tasks of tiny models with heads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluate.heads.support import make_task
from tests.predict.support import make_words
from tfcli.commands.app import run


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> Path:
    return make_words(tmp_path_factory.mktemp("words") / "words")


@pytest.fixture
def evaluate(capsys, tmp_path, monkeypatch):
    """A function that measures a model on rows, with a task's keys; its JSON, or its error."""
    # Answers alone are kept apart: kernels that were compiled before stay where they are.
    monkeypatch.setattr("tfcli.evaluate.kept.own_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("tfcli.evaluate.uncertainty.DRAWS", 10)  # what they are for is tested there

    def call(model, rows, *flags, code=0, folder=tmp_path, **keys):
        path = make_task(folder, rows, **keys)
        capsys.readouterr()
        asked = ["eval", str(model), "--task", str(path), *map(str, flags), "--json", "--quiet"]
        assert run(asked) == code, capsys.readouterr()
        found = json.loads(capsys.readouterr().out)
        return found if code == 0 else found["error"]

    return call
