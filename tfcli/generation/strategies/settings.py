"""What generation_config.json and a user say of strategies, by its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tfcli.errors import WorkError
from tfcli.generation.values import WHERE, count, number

EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True)
class BeamSettings:
    """How beams are kept, under transformers' names.

    Args:
        num_beams: unfinished texts of each prompt at a time.
        length_penalty: a text's score is the sum of its tokens' log-probabilities, divided by its
            length to this power: above 0 longer texts are better.
        early_stopping: True ends when there are as many whole texts as beams. False ends too when
            the best beam would be no better if it ended now; "never" when it could not become
            better at any length.
    """

    num_beams: int
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False


def read_beams(said: Mapping[str, Any]) -> BeamSettings | None:
    """How beams are kept; None where there is one.

    Raises:
        WorkError: a value that cannot be; names its key.
    """
    beams = count(said, "num_beams") or 1
    if beams == 1:
        return None
    early = said.get("early_stopping")
    if early not in (None, True, False, "never"):
        raise WorkError(
            f'early_stopping: must be true, false or "never", not {early!r}', where=WHERE
        )
    return BeamSettings(beams, number(said, "length_penalty", 1.0), early or False)
