"""The tasks that come with tfcli, by name; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

SHIPPED = "shipped"
"""Stands for all of them."""
_FOLDER = Path(__file__).parent / "shipped"


def shipped_tasks() -> dict[str, Path]:
    """Name -> file, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}
