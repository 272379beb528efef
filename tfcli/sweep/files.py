"""What a sweep writes beside the folders of its steps, after every point: a killed one leaves the
table of what it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json, write_text
from tfcli.launch.text import as_yaml
from tfcli.recipe.document import Document
from tfcli.recipe.recipe import is_recipe_of_steps, single_command, with_sets
from tfcli.report.render import render_html, render_markdown
from tfcli.sweep.page import lay_out, number_text
from tfcli.sweep.points import Settings
from tfcli.sweep.result import SweepPoint, SweepResult

JSON, MARKDOWN, HTML, BEST = "sweep.json", "sweep.md", "sweep.html", "best.yaml"


def refuse_foreign_files(root: Path) -> None:
    """Refuse a folder with files of these names that no sweep wrote.

    Raises:
        UsageError: naming one.
    """
    there = [name for name in (JSON, MARKDOWN, HTML, BEST) if (root / name).exists()]
    if there and not _is_a_sweeps(root / JSON):
        raise UsageError(
            f"{root / there[0]} was not made by tfcli sweep",
            where="output",
            fix="choose another folder, or move it elsewhere",
            code="output.not_empty",
        )


def write_result(result: SweepResult, root: Path) -> None:
    """Write sweep.json, sweep.md and sweep.html, each whole or not at all."""
    page = lay_out(result)
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / JSON, result.model_dump(mode="json"))
    write_text(root / MARKDOWN, render_markdown(page))
    write_text(root / HTML, render_html(page))


def write_best(
    document: Document, name: str, sets: Settings, best: SweepPoint, result: SweepResult, root: Path
) -> None:
    """Write best.yaml: the recipe with the best point's settings, whose steps have a folder of
    their own in the sweep's.

    Args:
        document: the recipe that was swept.
        name: its name.
        sets: dotted overrides that all points had.
        best: the point.
    """
    keys: dict[str, Any] = with_sets(document, sets | best.settings)
    keys.pop("sweep", None)
    own = {"output": str(root / "best")}
    if is_recipe_of_steps(document):
        keys = {"name": f"{name}-best", **{k: v for k, v in keys.items() if k != "name"}, **own}
        keys["steps"] = keys.pop("steps")  # below the rest
    else:
        keys = {"command": single_command(document)[0], **keys, **own}
    value = number_text(best.value)
    said = (
        f"# Point {best.number} of {len(result.points)}: {result.by} {value}, the {result.goal}.\n"
    )
    write_text(root / BEST, said + as_yaml(keys))


def _is_a_sweeps(path: Path) -> bool:
    try:
        values = read_json(path)
    except WorkError:
        return False
    return isinstance(values, dict) and values.get("schema") == SweepResult.schema_name
