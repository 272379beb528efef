"""How a model writes a turn: what is thoughts in it, what words, and what calls of tools."""

from __future__ import annotations

from dataclasses import dataclass

from tfcli.serve.tools.families import CallForm, form_of

HARMONY = "<|channel|>"
"""Begins the name of a channel of gpt-oss's turns."""


@dataclass(frozen=True)
class Thinking:
    """What stands around the thoughts of a model, which come first in its turn.

    Args:
        begin: before them.
        end: after them.
        words: before what is said to the user.
        breaks: lines that may be broken after `end`.
    """

    begin: str
    end: str
    words: str = ""
    breaks: int = 0


THINK = Thinking("<think>", "</think>", breaks=2)
"""That of Qwen 3, DeepSeek-R1 and many others."""
CHANNELS = Thinking(
    f"{HARMONY}analysis<|message|>",
    "<|end|><|start|>assistant",
    f"{HARMONY}final<|message|>",
)
"""That of gpt-oss."""


@dataclass(frozen=True)
class Manner:
    """How a model writes a turn.

    Args:
        calls: None: it calls no tools in a way that is known.
        thinking: None: everything is said to the user.
    """

    calls: CallForm | None = None
    thinking: Thinking | None = None

    @property
    def has_channels(self) -> bool:
        """Whether each part of a turn says where it goes, as gpt-oss's do."""
        return self.thinking is CHANNELS


def manner_of(template: str) -> Manner:
    """How a model writes whose chat template this is."""
    if HARMONY in template and "<|message|>" in template:
        return Manner(form_of(template), CHANNELS)
    return Manner(form_of(template), THINK if THINK.end in template else None)
