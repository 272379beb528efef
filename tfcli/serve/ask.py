"""What an engine is asked for, and what it tells of the answer while it makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tfcli.errors import Problem
from tfcli.generation.settings import TextSettings
from tfcli.serve.budget import Budget

if TYPE_CHECKING:
    from torch import Tensor

Reason = Literal["stop", "length", "time", "cancelled", "error"]


@dataclass(frozen=True)
class Ask:
    """One text that is wanted.

    Args:
        ids: what the model reads; at least one, and there is room for the new ones after them.
        max_new_tokens: at most, at least one.
        settings: of the checkpoint and of the request.
        seed: of the draws.
        logprobs: how many likeliest tokens are told of at each step; None: no probabilities are.
        continues: the text goes on from the ids, so that its first space counts; False: it stands
            for itself.
        special: special tokens are part of the text, as where they mark calls of tools.
        media: what goes along with the ids, by the names that the model takes it under.
        max_time: seconds from the request on, after which it ends; None: any.
        adapter: name of the adapter that changes the model for it; None: the model itself.
        budget: how long its thoughts may be; None: any length.
    """

    ids: list[int]
    max_new_tokens: int
    settings: TextSettings
    seed: int = 0
    logprobs: int | None = None
    continues: bool = True
    special: bool = False
    media: Mapping[str, Tensor] = field(default_factory=dict)
    max_time: float | None = None
    adapter: str | None = None
    budget: Budget | None = None


@dataclass(frozen=True)
class Token:
    """A token that came.

    Args:
        id: its number.
        logprob: of the model's own distribution, before rules and draws; None where not asked for.
        likeliest: tokens and their logarithms, the likeliest first, as many as were asked for.
    """

    id: int
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """What has come to a text: tokens, and the characters that are whole with them."""

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True)
class End:
    """A text has ended; nothing is told after it.

    Args:
        reason: why. `stop` is an end token or a stop text.
        cached: how many of the ids were not read, because what they make was still known.
        error: what went wrong, where something did.
    """

    reason: Reason
    cached: int = 0
    error: Problem | None = None


Event = Piece | End
Listen = Callable[[Event], None]
"""Is called by the engine's thread, and must return at once."""
