"""Errors about a quantization_config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfcli.models.errors import ModelError

WHERE = "config.json, quantization_config"


def refused(key: str, value: Any, supported: Sequence[Any]) -> ModelError:
    """The error for a value of a config that is not supported."""
    return ModelError(
        f"{key}: {value!r} is not supported",
        where=WHERE,
        fix=f"supported: {', '.join(str(item) for item in supported)}",
    )
