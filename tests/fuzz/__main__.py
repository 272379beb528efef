"""`scripts/fuzz`: mutated inputs through the real commands, each in a limited copy of a process.

Every case follows from the seed, the subject and its number alone, so that a run goes on where the
last one stopped, and a find can be made again. A find is kept in a folder of its own: the changed
files, and `find.json` with the seed, the command and what became of it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path
from random import Random

from tests.fuzz.subjects import Subject, make_subjects
from tests.warm import Ended, Warm, warm
from tfcli.files import write_json

SECONDS = 2.0  # of the processor
MEMORY = 300_000_000  # bytes above the process's own


def main() -> None:
    """Fuzz until the time is up."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("subjects", nargs="*", default=["*"], help="names, such as config:*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=5, help="how long")
    parser.add_argument("--case", type=int, help="only the case of this number, of each subject")
    parser.add_argument("--list", action="store_true", help="list the subjects and stop")
    parser.add_argument("--finds", type=Path, default=Path("runs/fuzz"), help="where they are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tfcli-fuzz-") as name:
        home = Path(name)
        (home / "sound").mkdir()
        subjects = make_subjects(home / "sound")
        chosen = [
            subject
            for subject in subjects.values()
            if any(fnmatch(subject.name, pattern) for pattern in options.subjects)
        ]
        if options.list:
            print("\n".join(subject.name for subject in chosen))
            return
        (home / "empty").mkdir()
        with warm(home / "empty") as process:
            _warm_up(process, chosen, home)
            _fuzz(process, chosen, home, options)


def _warm_up(process: Warm, chosen: list[Subject], home: Path) -> None:
    """Let the process import what the commands need; what is sound must be taken."""
    for subject in {one.name.partition(":")[0]: one for one in chosen}.values():
        for words in subject.commands:
            ended = process.load(*_filled(words, subject.source / subject.path, home / "out"))
            if words[0] in ("inspect", "recipe") and ended.code != 0:
                raise SystemExit(f"{subject.name} as it is: {ended}")
            shutil.rmtree(home / "out", ignore_errors=True)


def _fuzz(process: Warm, chosen: list[Subject], home: Path, options: argparse.Namespace) -> None:
    options.finds.mkdir(parents=True, exist_ok=True)
    state = options.finds / f"seed-{options.seed}.json"
    done: dict[str, int] = json.loads(state.read_text()) if state.exists() else {}
    end = time.monotonic() + 60 * options.minutes
    cases = finds = 0
    while time.monotonic() < end:
        for subject in chosen:
            number = options.case if options.case is not None else done.get(subject.name, 0)
            finds += _case(process, subject, number, home, options)
            cases += 1
            done[subject.name] = number + 1
        if options.case is not None:
            break
        write_json(state, done)
    print(f"{cases:,} cases, {finds:,} finds")


def _case(
    process: Warm, subject: Subject, number: int, home: Path, options: argparse.Namespace
) -> int:
    """Try one case; 1 where something is wrong."""
    folder, out = home / "case", home / "out"
    for place in (folder, out):
        shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(subject.source, folder)
    random = Random(f"{options.seed} {subject.name} {number}")
    what = subject.change(random, folder, number)
    for words in subject.commands:
        ended = process.run(*_filled(words, folder / subject.path, out), memory=4 * MEMORY)
        shutil.rmtree(out, ignore_errors=True)
        problem = wrong_with(ended)
        if problem is None:
            continue
        print(
            f"{subject.name} {number}: {words[0]}: {what}: {problem}: {ended.what[:200]}",
            flush=True,
        )
        kept = options.finds / f"{subject.name.replace(':', '-')}-{options.seed}-{number}"
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        told = {"seed": options.seed, "subject": subject.name, "case": number, "change": what}
        told |= {"command": list(words), "problem": problem, "what": ended.what}
        write_json(kept / "find.json", told)
        return 1
    return 0


def wrong_with(ended: Ended) -> str | None:
    """What is wrong with how a command ended, if something is."""
    if ended.code not in (0, 1, 2):
        return "broke down"
    if "unexpected" in ended.what:
        return "was not foreseen"
    if ended.cpu > SECONDS:
        return f"took {ended.cpu:.1f} s"
    if ended.peak > MEMORY:
        return f"took {ended.peak:,} bytes"
    return None


def _filled(words: tuple[str, ...], path: Path, out: Path) -> list[str]:
    return [word.replace("{out}", str(out)).replace("{}", str(path)) for word in words]


if __name__ == "__main__":
    main()
