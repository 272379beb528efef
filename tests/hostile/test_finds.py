"""Finds of `scripts/fuzz`, each a change to a sound folder: refused by name or taken, in bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.case import files_of, put
from tests.hostile.finds import FINDS, Find
from tests.hostile.make_corpus import make_corpus
from tests.warm import Ended, Warm, warm

SECONDS, MEMORY = 20, 300_000_000  # of the processor, of a slow one; bytes above the process's own


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Warm, dict[str, Any]]]:
    home = tmp_path_factory.mktemp("finds")
    good = make_corpus(home, "true").good
    (home / "empty").mkdir()
    with warm(home / "empty") as process:
        process.load("inspect", str(good["llama"]))
        process.load("generate", str(good["llama"]), "a", "--max-new-tokens", "1")
        process.load("convert", str(good["llama"]), str(home / "taken"), "--to", "gguf")
        yield process, {name: files_of(path) for name, path in good.items()}


@pytest.mark.parametrize("find", FINDS, ids=[find.name for find in FINDS])
def test_finds_of_the_fuzzer_stay_mended(
    find: Find, loaded: tuple[Warm, dict[str, Any]], tmp_path: Path
) -> None:
    process, good = loaded
    folder = tmp_path / "case"
    folder.mkdir()
    put(folder, good[find.source])
    find.change(folder)
    words = [word.format(folder, out=tmp_path / "out") for word in find.command]
    ended = process.run(*words, memory=4 * MEMORY)
    assert problem(ended) is None, ended
    if find.says is not None:
        assert ended.code in (1, 2) and find.says in f"{ended.what} | {ended.where}", ended


def problem(ended: Ended) -> str | None:
    if ended.code not in (0, 1, 2):
        return "broke down"
    if "unexpected" in ended.what:
        return "was not foreseen"
    return "took too much" if ended.cpu > SECONDS or ended.peak > MEMORY else None


def test_a_find_is_a_change_that_can_be_made_again() -> None:
    assert len({find.name for find in FINDS}) == len(FINDS)
    assert all(json.dumps(find.command) for find in FINDS)
