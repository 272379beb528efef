"""Tasks of heads as files beside their rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def make_task(folder: Path, rows: Any, **keys: Any) -> Path:
    """Write a task of rows, or of several splits of them.

    Args:
        folder: of the files.
        rows: those of the test split, or split -> rows.
        keys: of the task; one that is None is left out.
    """
    splits: Mapping[str, Sequence[Any]] = rows if isinstance(rows, dict) else {"test": rows}
    for name, each in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    values = {
        "task": "heads",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {name: f"{name}.jsonl" for name in splits}},
        "test_split": "test",
        **keys,
    }
    path = folder / "heads.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))
    return path


def values(found: Mapping[str, Any]) -> dict[str, Any]:
    """Measure -> its value."""
    return {measure["name"]: measure["value"] for measure in found["measures"]}


def asked(*names: str, **options: Any) -> list[dict[str, Any]]:
    """A `metric_list` of metrics with the same options."""
    return [{"metric": name, **options} for name in names]
