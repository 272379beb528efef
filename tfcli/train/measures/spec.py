"""The keys of `tfcli train` that say what is measured on a validation; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from tfcli.errors import hint
from tfcli.metrics.spec import KINDS
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


class GenerationSection(Section):
    """How the texts are made that metrics of `objective: seq2seq` compare: greedily."""

    max_new_tokens: int | None = Field(
        None, ge=1, description="The most tokens of a text; left out, those of a target."
    )
    max_examples: int | None = Field(
        None,
        ge=1,
        description="Texts are made for so many of the validation's first rows; left out, for all.",
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
