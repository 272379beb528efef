"""The report's last part: what was run, from what, on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tfcli.report.page import Detail, Section, Table
from tfcli.report.steps import Step
from tfcli.report.text import duration
from tfcli.units import format_bytes

SHORT = 12
"""Characters of a hash that a table shows."""


def record_section(steps: Sequence[Step]) -> Section:
    """Every step with its time and key, its inputs, and the options it ran with."""
    rows = [
        (
            step.name,
            step.command,
            str(step.record["started"]).replace("T", " ").removesuffix("+00:00"),
            str(step.record["key"])[:SHORT],
            duration(float(step.record["seconds"])),
        )
        for step in steps
    ]
    columns = ("step", "command", "started (UTC)", "key", "time")
    return Section(
        "Run record",
        "The same options on the same inputs give the same key. Each step's folder has all of "
        "this in its run.json.",
        tables=(Table(columns, tuple(rows), words=4), *_machines(steps)),
        details=tuple(_detail(step) for step in steps),
    )


def machine_text(machine: Mapping[str, Any]) -> str:
    """A machine in one line."""
    said = [str(machine.get("processor") or "unknown processor"), f"{machine['cores']} cores"]
    said.append(format_bytes(int(machine["memory_bytes"])))
    if "accelerator" in machine:
        said.append(str(machine["accelerator"]))
    return ", ".join([*said, str(machine["system"])])


def _machines(steps: Sequence[Step]) -> list[Table]:
    def versions_of(step: Step) -> str:
        return ", ".join(f"{name} {number}" for name, number in step.record["versions"].items())

    used: dict[tuple[str, str], list[str]] = {}
    for step in steps:
        setting = (machine_text(step.record["machine"]), versions_of(step))
        used.setdefault(setting, []).append(step.name)
    rows = [(machine, versions) for machine, versions in used]
    if len(rows) == 1:
        return [Table(("machine", "versions"), tuple(rows), words=2)]
    named = [(*setting, ", ".join(names)) for setting, names in used.items()]
    return [Table(("machine", "versions", "steps"), tuple(named), words=3)]


def _detail(step: Step) -> Detail:
    facts = {
        "options": step.spec,
        "inputs": step.record["inputs"],
        "files": {
            name: f"{file['bytes']} bytes, sha256 {file['sha256']}"
            for name, file in step.record["files"].items()
        },
        "key": step.record["key"],
    }
    text = yaml.safe_dump(
        {name: value for name, value in facts.items() if value}, sort_keys=False, width=96
    )
    return Detail(f"{step.name}: options, inputs and files", text)
