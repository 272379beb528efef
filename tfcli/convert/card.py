"""The model card of a converted checkpoint: its source, what was done, how it was checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tfcli.checkpoints.card import CARD as CARD
from tfcli.checkpoints.card import Origin, card_text
from tfcli.convert.plan import Plan
from tfcli.units import format_bytes


def model_card(plan: Plan, source: str, inputs: Mapping[str, str], verified: int) -> str:
    """The text of README.md.

    Args:
        plan: what was done.
        source: the checkpoint as the user named it.
        inputs: the hash or hub commit of each input, by its name.
        verified: how many tensors were compared with the source; 0: that was not asked for.
    """
    view, model_type = plan.view, plan.config.get("model_type")
    checked = f"{verified} tensors read back and equal to the source's, bit for bit"
    facts = {
        "family": "" if model_type is None else f"`{model_type}`",
        "tensors": _actions(plan),
        "dtypes": _dtypes(plan),
        "size": f"{format_bytes(view.stored_bytes)} -> {format_bytes(plan.nbytes)}",
        "verified": checked if verified else "not asked for",
    }
    return card_text("converted", [Origin("source", source, view.kind)], inputs, facts)


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
