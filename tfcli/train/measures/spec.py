"""The keys of `tfcli train` that say what is measured on a validation; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from tfcli.errors import hint
from tfcli.metrics.spec import KINDS
from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.spec import Section

OF_OBJECTIVES: dict[str, tuple[str, ...]] = {
    "sequence-classification": (*KINDS["labels"], *KINDS["numbers"]),
    "multiple-choice": KINDS["labels"],
    "token-classification": KINDS["tags"],
    "question-answering": KINDS["answers"],
    "seq2seq": KINDS["texts"],
    "contrastive": KINDS["retrieval"],
    **dict.fromkeys(("dpo", "ipo", "orpo", "simpo", "reward"), KINDS["pairs"]),
    "kto": KINDS["judgements"],
}
"""Objective -> the metrics that it has."""
MEASURED = tuple(OF_OBJECTIVES)
BEAMS = Only(num_beams=GIVEN)


class GenerationSection(Section):
    """How the texts are made that metrics of `objective: seq2seq` compare."""

    max_new_tokens: int | None = Field(
        None, ge=1, description="The most tokens of a text; left out, those of a target."
    )
    max_examples: int | None = Field(
        None,
        ge=1,
        description="Texts are made for so many of the validation's first rows; left out, for all.",
    )
    num_beams: int | None = Field(
        None,
        ge=2,
        description="Unfinished texts of each row that go on side by side, the best whole one of "
        "which counts; left out, the likeliest token is taken each time.",
    )
    length_penalty: Annotated[float, BEAMS] = Field(
        1.0,
        allow_inf_nan=False,
        description="Beams are compared by the sum of log-probabilities divided by the length to "
        "this power.",
    )
    early_stopping: Annotated[bool | Literal["never"], BEAMS] = Field(
        False,
        description="Whether a text is taken once there are as many whole ones as beams. never: "
        "only when no beam could become better.",
    )


def check_metrics(objective: str, names: Sequence[str]) -> None:
    """Refuse metrics that an objective does not have.

    Raises:
        ValueError: naming the nearest.
    """
    known = OF_OBJECTIVES.get(objective, ())
    for name in names:
        if name not in known:
            raise ValueError(f"metrics: {objective} has no {name!r} ({hint(name, known)})")
