"""The model card of a converted checkpoint: its source, what was done, how it was checked."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import tfcli
from tfcli.convert.plan import Plan
from tfcli.recipe.record import RECORD
from tfcli.units import format_bytes

CARD = "README.md"


def model_card(plan: Plan, source: str, inputs: Mapping[str, str], verified: int) -> str:
    """The text of README.md.

    Args:
        plan: what was done.
        source: the checkpoint as the user named it. Of a local path only the last part is told.
        inputs: the hash or hub commit of each input, by its name.
        verified: how many tensors were compared with the source.
    """
    view, path = plan.view, Path(source).expanduser()
    local = path.exists()
    name = path.resolve().name if local else source
    lines = ["---"]
    if not local:
        lines.append(f"base_model: {source.partition('@')[0]}")
    lines += ["tags:", "- tfcli", "---", "", f"# {name}, converted", ""]
    lines += ["| | |", "|---|---|", f"| source | `{name}` ({view.kind}) |"]
    if source in inputs:
        lines.append(f"| its content | `{inputs[source]}` |")
    model_type = plan.config.get("model_type")
    if model_type is not None:
        lines.append(f"| family | `{model_type}` |")
    lines += [
        f"| tensors | {_actions(plan)} |",
        f"| dtypes | {_dtypes(plan)} |",
        f"| size | {format_bytes(view.stored_bytes)} -> {format_bytes(plan.nbytes)} |",
        f"| verified | {verified} tensors read back and equal to the source's, bit for bit |",
        f"| made by | tfcli {tfcli.__version__}, Python {platform.python_version()} |",
        "",
        f"Each tensor, every version and the hashes of all files are in `{RECORD}`.",
        "",
    ]
    return "\n".join(lines)


def _actions(plan: Plan) -> str:
    counts = Counter(item.action for item in plan.items)
    return ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))


def _dtypes(plan: Plan) -> str:
    changes = Counter(
        item.tensor.dtype
        if item.tensor.dtype == item.dtype
        else f"{item.tensor.dtype} to {item.dtype}"
        for item in plan.written
    )
    return ", ".join(f"{count} {change}" for change, count in changes.most_common())
