"""What a row becomes: a text, a prompt with its completion, or a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.data.media import Medium


@dataclass(frozen=True)
class Text:
    """A text; all of it is to be learned."""

    text: str


@dataclass(frozen=True)
class Pair:
    """A prompt and what is to come after it. Nothing is put between them."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Chat:
    """A conversation.

    Args:
        messages: each has a role, and content or tool calls.
        tools: the JSON schemas of what the assistant may call.
        otherwise: what a model without a chat template reads in its place; None: it cannot.
        media: of the messages, where they stand as `{"type": kind}`, in order.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None = None
    otherwise: Pair | None = None
    media: Sequence[Medium] = ()


Sample = Text | Pair | Chat
