"""The keys of strategies: ways of choosing tokens beside taking or drawing one at a time."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tfcli.recipe.spec import Section


class StrategyKeys(Section):
    """Beams, and what else looks further than the next token."""

    said_of_strategies: ClassVar[tuple[str, ...]] = (
        "num_beams",
        "length_penalty",
        "early_stopping",
    )
    """Those that mean what they mean in generation_config.json."""

    num_beams: int | None = Field(
        None,
        ge=1,
        description="Unfinished texts of each prompt that go on side by side; the best whole one "
        "is the answer, which comes when it is whole.",
    )
    length_penalty: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Of beams: the sum of log-probabilities is divided by the length to this "
        "power, so that above 0 longer texts are better. Left out, 1.",
    )
    early_stopping: bool | Literal["never"] | None = Field(
        None,
        description="Of beams: true ends with as many whole texts as beams; false also where the "
        "best beam would be no better if it ended now; never, where it could not become better at "
        "any length.",
    )
