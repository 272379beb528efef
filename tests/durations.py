"""Where the time of a run went: a line a folder at its end, the slowest files after it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

FILES = 12
LEAST = 60.0
"""Seconds of tests in all, below which a run is too short to be explained."""


def show(reporter: Any) -> None:
    """Write the table with pytest's terminal reporter. Setting up and tearing down counts."""
    seconds: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for reports in reporter.stats.values():
        for report in reports:
            if not hasattr(report, "duration"):
                continue  # a warning
            file = report.nodeid.partition("::")[0]
            seconds[file] += report.duration
            count[file] += report.when == "call"
    if sum(seconds.values()) < LEAST:
        return
    folders: dict[str, float] = defaultdict(float)
    tests: dict[str, int] = defaultdict(int)
    for file, spent in seconds.items():
        folder = "/".join(PurePosixPath(file).parts[:2])
        folders[folder] += spent
        tests[folder] += count[file]
    reporter.write_sep("-", "seconds by folder, then the slowest files")
    for each in sorted(folders, key=lambda name: -folders[name]):
        reporter.write_line(f"{folders[each]:8.1f} s {tests[each]:6} tests  {each}")
    reporter.write_line("")
    for each in sorted(seconds, key=lambda name: -seconds[name])[:FILES]:
        reporter.write_line(f"{seconds[each]:8.1f} s {count[each]:6} tests  {each}")
