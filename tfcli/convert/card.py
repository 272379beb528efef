"""The model card of a converted checkpoint: its source, what was done, how it was checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tfcli.checkpoints.card import CARD as CARD
from tfcli.checkpoints.card import Origin, card_text
from tfcli.convert.spec import ConvertResult, TensorAccount
from tfcli.units import format_bytes


def model_card(
    result: ConvertResult,
    source: str,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    checked: str,
) -> str:
    """The text of README.md.

    Args:
        result: what was done.
        source: the checkpoint as the user named it.
        inputs: the hash or hub commit of each input, by its name.
        config: the content of config.json.
        checked: how it was verified, where that was asked for.
    """
    actions = Counter(tensor.action for tensor in result.tensors)
    dtypes = Counter(_change(tensor) for tensor in result.tensors if tensor.action != "tied")
    model_type = config.get("model_type")
    facts = {
        "family": "" if model_type is None else f"`{model_type}`",
        "tensors": ", ".join(f"{count} {action}" for action, count in sorted(actions.items())),
        "dtypes": ", ".join(f"{count} {change}" for change, count in dtypes.most_common()),
        "size": f"{format_bytes(result.source_bytes)} -> {format_bytes(result.bytes)}",
        "verified": checked if result.verified else "not asked for",
    }
    return card_text("converted", [Origin("source", source, result.kind)], inputs, facts)


def _change(tensor: TensorAccount) -> str:
    if tensor.source_dtype == tensor.dtype:
        return tensor.dtype
    return f"{tensor.source_dtype} to {tensor.dtype}"
