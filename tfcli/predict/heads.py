"""Which head of a family a task asks."""

from __future__ import annotations

from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.models.registry import get_family


def require_head(config: BaseConfig, task: str, *heads: str) -> str:
    """The first of some heads that a model's family has.

    Args:
        config: of the model.
        task: that asks for it, for the error.
        heads: those that will do.

    Raises:
        UsageError: it has none of them.
    """
    known = get_family(config.model_type).heads
    for head in heads:
        if head in known:
            return head
    raise UsageError(
        f"{config.model_type} has no head for {task}",
        where="model",
        fix=f"its heads: {', '.join(known)}",
    )
