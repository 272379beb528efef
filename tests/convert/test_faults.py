"""A conversion that finds no room or loses its source: a clear error, and nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import make_tiny_llama
from tests.warm import Warm, warm

TARGETS = {
    "hf": ("--dtype", "bf16", "--shard-size", "20MB"),
    "pt": ("--to", "pt"),
    "gguf": ("--to", "gguf", "--dtype", "q8_0"),
}
SIZES = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4}  # 48 MB in fp32


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("faults") / "source", tiny_tokenizer, **SIZES)


@pytest.fixture(scope="module")
def process(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """A process that has converted to every target, and so has imported all that it takes."""
    home = tmp_path_factory.mktemp("warm")
    with warm(home) as loaded:
        for to, options in TARGETS.items():
            ended = loaded.load("convert", str(source), str(home / to), *options)
            assert ended.code == 0, ended
        yield loaded


def partial(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")


def under_way(output: Path) -> bool:
    """Whether some weights are written."""
    try:
        return any(path.stat().st_size > 1_000_000 for path in partial(output).iterdir())
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the conversion does not begin"
        time.sleep(0.0005)


def rewritten(path: Path) -> None:
    """The same size, other values."""
    with path.open("r+b") as file:
        file.seek(-4_000_000, os.SEEK_END)
        file.write(bytes(4_000_000))


def truncated(path: Path) -> None:
    """What is left ends in the header; maps of the rest have no pages any more."""
    os.truncate(path, 1000)


def replaced(path: Path) -> None:
    """Another file under the name, as a download that is finished puts it there."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize("change", [rewritten, truncated, replaced])
@pytest.mark.parametrize("to", TARGETS)
def test_a_source_that_changes_is_named(
    process: Warm, source: Path, tmp_path: Path, to: str, change: Callable[[Path], None]
) -> None:
    copy, output = tmp_path / "source", tmp_path / "out"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    pid = process.start("convert", str(copy), str(output), *TARGETS[to])
    wait_for(lambda: under_way(output))
    os.kill(pid, signal.SIGSTOP)
    assert partial(output).exists(), "it was done before it could be stopped"
    change(copy / "model.safetensors")
    os.kill(pid, signal.SIGCONT)
    ended = process.wait()
    assert (ended.code, ended.what) == (1, "changed while it was read"), ended
    assert ended.where == str(copy / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("to", TARGETS)
def test_a_disk_that_fills_while_it_writes(
    process: Warm, source: Path, tmp_path: Path, to: str
) -> None:
    """The limit of the file size stands for it: the same errors at the same place."""
    output = tmp_path / "out"
    ended = process.run("convert", str(source), str(output), *TARGETS[to], file_size=9_000_000)
    assert ended.code == 1 and "cannot be written: File too large" in ended.what, ended
    assert str(partial(output)) in ended.where
    assert list(tmp_path.iterdir()) == []
    assert process.run("convert", str(source), str(output), *TARGETS[to]).code == 0


@pytest.fixture(scope="module")
def disks(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Warm]]:
    """File systems of their own, in a mount namespace of its own: two small ones, a read-only one.

    The first is smaller than the weights; the second has no room for what comes after them.
    """
    home = tmp_path_factory.mktemp("disks")
    for name in ("small", "tight", "sealed"):
        (home / name).mkdir()
    mounts = [
        f"mount -t tmpfs -o size=8m none {home / 'small'}",
        f"mount -t tmpfs -o size=8m none {home / 'tight'}",
        f"mount -t tmpfs -o ro none {home / 'sealed'}",
        'exec "$0" "$@"',
    ]
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", " && ".join(mounts)]
    with warm(home, command) as loaded:
        for options in TARGETS.values():
            assert loaded.load("convert", str(source), "--dry-run", *options).code == 0
        yield home, loaded


def seen(process: Warm, folder: Path) -> list[str]:
    """What lies in a folder as the process in its namespace sees it."""
    return [path.name for path in Path(f"/proc/{process.process.pid}/root{folder}").iterdir()]


@pytest.mark.parametrize("to", TARGETS)
def test_a_disk_that_is_too_small(disks: tuple[Path, Warm], source: Path, to: str) -> None:
    home, process = disks
    ended = process.run("convert", str(source), str(home / "small/out"), *TARGETS[to])
    assert ended.code == 1 and "the disk has room for" in ended.what, ended
    assert str(home / "small") in ended.where
    assert seen(process, home / "small") == []


def test_a_disk_that_is_full_after_the_weights(
    disks: tuple[Path, Warm], tiny_llama: Path, tmp_path: Path
) -> None:
    home, process = disks
    inside = Path(f"/proc/{process.process.pid}/root{home / 'tight'}")
    free = os.statvfs(inside).f_bavail * os.statvfs(inside).f_frsize
    weights = (tiny_llama / "model.safetensors").stat().st_size
    (inside / "other").write_bytes(bytes(free - weights - 8192))
    ended = process.run("convert", str(tiny_llama), str(home / "tight/out"))
    assert (ended.code, ended.what) == (1, "the disk is full"), ended
    assert seen(process, home / "tight") == ["other"]


@pytest.mark.parametrize("to", TARGETS)
def test_a_target_that_cannot_be_written(disks: tuple[Path, Warm], source: Path, to: str) -> None:
    home, process = disks
    ended = process.run("convert", str(source), str(home / "sealed/out"), *TARGETS[to])
    assert ended.code == 2 and "Read-only file system" in ended.what, ended
    assert ended.where == str(home / "sealed")
    assert seen(process, home / "sealed") == []
