"""The tasks that come with tfcli, by name; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

SHIPPED = "shipped"
"""Stands for all of them that are of language models."""
_FOLDER = Path(__file__).parent / "shipped"


def shipped_tasks() -> dict[str, Path]:
    """Those of language models: name -> file, by name."""
    return _files(_FOLDER)


def known_tasks() -> dict[str, Path]:
    """The same with those of models with heads."""
    return {**shipped_tasks(), **_files(_FOLDER / "heads")}


def _files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
