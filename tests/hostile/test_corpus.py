"""Every hostile checkpoint through the commands: refused by name, in bounds, without effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.case import CONVERT, INSPECT, Case, Corpus
from tests.hostile.make_corpus import make_corpus
from tests.warm import Ended, Warm, warm

SECONDS = 20  # of the processor: the slowest case takes about 2 on a slow one
MEMORY = 200_000_000  # bytes above what the process holds after its imports


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("hostile")
    return make_corpus(folder, f"touch {folder / 'canary'}")


@pytest.fixture(scope="module")
def loaded(corpus: Corpus) -> Iterator[Warm]:
    """A process that took every good checkpoint, and so has imported all readers."""
    home = corpus.folder.parent
    for name in ("empty", "out"):
        (home / name).mkdir()
    with warm(home / "empty") as process:
        for name, path in corpus.good.items():
            assert process.load("inspect", str(path)).code == 0, name
            ended = process.load("convert", str(path), str(home / "taken" / name))
            assert ended.code == 0, (name, ended)
        yield process


def test_hostile_checkpoints(corpus: Corpus, loaded: Warm) -> None:
    home = corpus.folder.parent
    before = listing(corpus.folder)
    assert len(corpus.cases) > 150
    wrong = []
    for case in corpus.cases:
        source, output = str(corpus.folder / case.path), home / "out/model"
        seen = loaded.run(INSPECT, source, memory=MEMORY)
        wrong += [f"inspect {case.name}: {what}: {seen}" for what in problems(case, INSPECT, seen)]
        seen = loaded.run(CONVERT, source, str(output), *case.arguments, memory=MEMORY)
        wrong += [f"convert {case.name}: {what}: {seen}" for what in problems(case, CONVERT, seen)]
        left = sorted(path.name for path in output.parent.iterdir())
        if left != ([] if seen.code else ["model"]):
            wrong.append(f"convert {case.name}: left {left}")
        for path in sorted(output.parent.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert wrong == []
    assert listing(corpus.folder) == before
    assert not (home / "canary").exists() and not list((home / "empty").iterdir())


def problems(case: Case, command: str, seen: Ended) -> Iterator[str]:
    """What is wrong with how a command ended."""
    text = f"{seen.what} | {seen.where}"
    if seen.code not in (0, 1, 2) or "unexpected" in text:
        yield "broke down"
    if command in case.by and not seen.code:
        yield "was accepted"
    elif command in case.by and case.file not in text:
        yield f"does not name {case.file!r}"
    elif command in case.by and case.says not in text:
        yield f"does not say {case.says!r}"
    if seen.cpu > SECONDS or seen.peak > MEMORY:
        yield "took too much"
    if len(text) > 1000 or not text.replace("\n", "").isprintable():
        yield "is not for people"


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder: its size and the time of its last change."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        found[str(path)] = stat.st_size, stat.st_mtime_ns
    return found
