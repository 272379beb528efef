"""What generation_config.json and a user say of strategies, by its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tfcli.errors import WorkError
from tfcli.generation.strategies.forced import Word, checked_word
from tfcli.generation.values import WHERE, count, listed, number, sequence, share

DolaLayers = Literal["low", "high"] | tuple[int, ...]
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
        num_beam_groups: groups of one size; 1: all beams are one.
        diversity_penalty: taken off a token's logit for each beam of an earlier group that says it.
        force_words: what must come, see `forced.Word`.
    """

    num_beams: int
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    force_words: tuple[Word, ...] = ()


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
        max_matching_ngram_size=count(
            said, "max_matching_ngram_size", plain.max_matching_ngram_size
        ),
        num_assistant_tokens=count(said, "num_assistant_tokens", plain.num_assistant_tokens),
        assistant_confidence_threshold=number(
            said, "assistant_confidence_threshold", plain.assistant_confidence_threshold, share
        ),
    )


def read_beams(said: Mapping[str, Any], limit: int) -> BeamSettings | None:
    """How beams are kept; None where there is one.

    Args:
        said: the keys.
        limit: token ids are below.

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
    groups = count(said, "num_beam_groups") or 1
    if beams % groups:
        raise WorkError(
            f"num_beam_groups: {groups} groups of one size cannot be made of {beams} beams",
            where=WHERE,
            fix="give num_beams that is a multiple of it",
        )
    return BeamSettings(
        beams,
        length_penalty=number(said, "length_penalty", 1.0),
        early_stopping=early or False,
        num_beam_groups=groups,
        diversity_penalty=number(said, "diversity_penalty", 0.0),
        force_words=tuple(
            checked_word(_ways(word, limit)) for word in listed(said, "force_words_ids")
        ),
    )


def _ways(word: Any, limit: int) -> list[tuple[int, ...]]:
    """A word of force_words_ids: one list of ids, or several of which one must come."""
    several = isinstance(word, list) and word and isinstance(word[0], list)
    return [sequence(way, "force_words_ids", limit) for way in (word if several else [word])]


@dataclass(frozen=True)
class ContrastSettings:
    """Contrastive search, under transformers' names; see `contrastive.Contrastive`."""

    penalty_alpha: float
    top_k: int


def read_contrast(said: Mapping[str, Any]) -> ContrastSettings | None:
    """Contrastive search; None where nothing asks for it.

    Raises:
        WorkError: a value that cannot be; names its key.
    """
    alpha = number(said, "penalty_alpha", 0.0, share)
    candidates = count(said, "top_k") if said.get("top_k") is not None else 50
    if not alpha or candidates < 2 or said.get("do_sample"):
        return None
    return ContrastSettings(alpha, candidates)


def read_layers(said: Mapping[str, Any]) -> DolaLayers | None:
    """The layers that DoLa looks at; None where nothing asks for it.

    Raises:
        WorkError: a value that cannot be; names its key.
    """
    found = said.get("dola_layers")
    if found is None or found == "low" or found == "high":
        return found
    numbers = isinstance(found, list) and all(type(layer) is int and layer >= 0 for layer in found)
    if not found or not numbers:
        raise WorkError(
            f'dola_layers: must be "low", "high" or numbers of layers, not {found!r}', where=WHERE
        )
    return tuple(found)
