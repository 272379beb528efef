"""Reading metrics.jsonl, the course of a run; imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

METRICS = "metrics.jsonl"
_LINE = TypeAdapter(dict[str, int | float])


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, up to the first that a kill cut short, or that is none of ours:
    figures by name, `step` among them.
    """
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_bytes().splitlines():
            try:
                values = _LINE.validate_python(json.loads(text), strict=True)
            except (ValueError, RecursionError):
                break
            if type(values.get("step")) is not int:
                break
            lines.append(dict(values))
    return lines
