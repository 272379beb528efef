"""Whether a model is asked to think first, and for how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfcli.serve.wishes import Body


class Enabled(Body):
    """It thinks, for so many tokens at most."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1)]


class Adaptive(Body):
    """It thinks, for as long as it likes."""

    type: Literal["adaptive"]


class Disabled(Body):
    """It does not think."""

    type: Literal["disabled"]


Thinking = Annotated[Enabled | Adaptive | Disabled, Field(discriminator="type")]


def is_wanted(thinking: Enabled | Adaptive | Disabled | None) -> bool | None:
    """Whether it thinks; None: as it does by itself."""
    return None if thinking is None else not isinstance(thinking, Disabled)


def budget_of(thinking: Enabled | Adaptive | Disabled | None) -> int | None:
    """How many tokens of thoughts there may be; None: any number."""
    return thinking.budget_tokens if isinstance(thinking, Enabled) else None
