"""Every limit on what comes from outside, in one place; docs/security.md's table is made from it.

The sizes are far above those of what is in use, and what is within them all is read in seconds.
"""

from __future__ import annotations

from tfcli.models.limits import (
    LIMIT,
    MAX_CONFIG_DEPTH,
    MAX_CONFIG_TEXT,
    MAX_EXPERTS,
    MAX_LABELS,
    MAX_LAYERS,
    MAX_POWER,
    MAX_VALUES_OVER,
    Limit,
)

__all__ = [
    "LIMIT",
    "MAX_CONFIG_DEPTH",
    "MAX_CONFIG_TEXT",
    "MAX_EXPERTS",
    "MAX_LABELS",
    "MAX_LAYERS",
    "MAX_POWER",
    "MAX_VALUES_OVER",
    "Limit",
]

MAX_PATTERN = Limit(4_000, "characters", "a regular expression of a tokenizer")
MAX_PATTERN_DEPTH = Limit(20, "levels", "the groups of one")
MAX_PATTERN_PARTS = Limit(1_000, "parts", "one whose counts are written out")
MAX_PATTERN_WAYS = Limit(4_096, "ways", "one to match the same text")
MAX_STEPS = Limit(64, "steps", "the normalizer of a tokenizer, its decoder and so on, each")
MAX_STEP_DEPTH = Limit(4, "levels", "sequences of steps in sequences")
MAX_STEP_TEXT = Limit(1_000, "characters", "a text that a step puts in or looks for")
MAX_STEP_GROWTH = Limit(1 << 20, "times", "what steps make of a text that is made for it")
MAX_GROWTH = Limit(64, "times", "what steps make of single letters and of what they look for")
MAX_AROUND = Limit(1_000, "ids", "what stands before and after each text")
MAX_AFFIX = Limit(64, "characters", "what a vocabulary puts to each part of a word")
MAX_WORD = Limit(2_000, "characters", "a word that a WordPiece vocabulary divides")
