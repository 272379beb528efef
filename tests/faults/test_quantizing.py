"""SIGKILL at system calls of a quantization: it goes on at the block it was at, to equal bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.preload import Fault
from tests.quantize.test_run import LLAMA, WORDS, write_checkpoint
from tests.warm import Warm, warm
from tfcli.recipe.place import Place, completed

KILLS = 10


@pytest.fixture(scope="module", params=["rtn", "gptq", "awq", "budget", "head"])
def quantized(home: Path, library: Path, request) -> Iterator[tuple[Warm, Path]]:
    """A process that has quantized what the recipe `quantize.json` says, and the folder of it."""
    folder = home / f"quantizing-{request.param}"
    (folder / "work").mkdir(parents=True)
    write_checkpoint(folder / "dense", LLAMA)
    (folder / "text.txt").write_text(" ".join(WORDS[n * n % 60] for n in range(900)))
    recipe = {"model": str(folder / "dense"), "method": request.param, "group_size": 32}
    if request.param == "budget":
        recipe |= {"method": "gptq", "target_bits": 4.0, "samples": 16}
    if request.param == "head":
        recipe |= {"method": "gptq", "head": "8bit"}
    if request.param != "rtn":
        recipe |= {"data": str(folder / "text.txt"), "sequence_length": 32, "device": "cpu"}
    (folder / "quantize.json").write_text(json.dumps(recipe))
    with warm(home, preload=library) as process:
        assert process.load(*quantize(folder, folder / "whole")).code == 0
        yield process, folder


def quantize(folder: Path, output: Path) -> list[str]:
    return ["quantize", str(folder / "quantize.json"), "--output", str(output)]


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the record, which has times."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "run.json"}


def calls_of(process: Warm, folder: Path, work: Path) -> int:
    """How many system calls change files from the start to the end."""
    low, high = 1, 2
    while killed(process, folder, work, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if killed(process, folder, work, middle):
            low = middle
        else:
            high = middle
    return low


def killed(process: Warm, folder: Path, work: Path, at: int) -> bool:
    fault = Fault(f"{work}/", at).as_job()
    ended = process.run(*quantize(folder, work / "out"), fault=fault)
    shutil.rmtree(work)
    work.mkdir()
    return ended.code is None


def test_a_run_that_was_killed_goes_on_to_the_same_bits(quantized: tuple[Warm, Path]) -> None:
    process, folder = quantized
    whole, work = content(folder / "whole"), folder / "work"
    place, kept = Place(work / "out"), 0
    last = calls_of(process, folder, work)
    for number in range(KILLS):
        at = 1 + number * (last - 1) // (KILLS - 1)
        fault = Fault(f"{work}/", at).as_job()
        assert process.run(*quantize(folder, place.output), fault=fault).code is None
        done = {}
        if not place.output.exists() and completed(place) is None:
            notes = place.partial.glob(".walk/model-*.json")
            files = [place.partial / f"{note.stem}.safetensors" for note in notes]
            done = {file: file.stat().st_ino for file in files}
        kept += len(done)
        assert process.run(*quantize(folder, place.output)).code == 0
        assert content(place.output) == whole
        for file, inode in done.items():
            assert (place.output / file.name).stat().st_ino == inode, "it is not made again"
        assert [path.name for path in work.iterdir()] == ["out"]
        shutil.rmtree(work)
        work.mkdir()
    assert kept > 3, "some kills came after a block was done"
