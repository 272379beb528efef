"""What generation_config.json and a user say of strategies, by its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tfcli.errors import WorkError
from tfcli.generation.values import WHERE, count, number, share

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


@dataclass(frozen=True)
class DraftSettings:
    """How tokens are drafted, under transformers' names.

    Args:
        prompt_lookup_num_tokens: drafted at a time from the text itself; 0: none.
        max_matching_ngram_size: tokens that are looked for there, at most.
        num_assistant_tokens: drafted by a smaller model at a time.
        assistant_confidence_threshold: it ends a draft after a token that has less than this
            probability.
    """

    prompt_lookup_num_tokens: int = 0
    max_matching_ngram_size: int = 2
    num_assistant_tokens: int = 20
    assistant_confidence_threshold: float = 0.4


def read_drafts(said: Mapping[str, Any]) -> DraftSettings:
    """How tokens are drafted.

    Raises:
        WorkError: a value that cannot be; names its key.
    """
    plain = DraftSettings()
    return DraftSettings(
        prompt_lookup_num_tokens=count(said, "prompt_lookup_num_tokens"),
        max_matching_ngram_size=count(said, "max_matching_ngram_size")
        or plain.max_matching_ngram_size,
        num_assistant_tokens=count(said, "num_assistant_tokens") or plain.num_assistant_tokens,
        assistant_confidence_threshold=number(
            said, "assistant_confidence_threshold", plain.assistant_confidence_threshold, share
        ),
    )


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
