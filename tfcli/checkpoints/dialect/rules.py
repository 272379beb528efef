"""What a rule of a dialect says, and what it needs to know of a config.

    Rule("embedder.weight", "model.embed_tokens.weight")
    Rule(
        "model.layers.{layer}.self_attn.qkv_proj.weight",
        tuple(f"model.layers.{{layer}}.self_attn.{part}_proj.weight" for part in "qkv"),
        (Split(0, ("heads", "kv", "kv")),),
    )

A word in braces stands for the numbers that the config gives it (`Facts.numbers`). One that is on
both sides makes a rule of each number; one that is on one side alone, such as the experts that the
other side has as a stack, makes the names of one rule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tfcli.checkpoints.dialect.steps import Size, Step


@dataclass(frozen=True)
class Facts:
    """What the rules need to know of a config.

    Args:
        sizes: rows and columns by the words that steps use.
        numbers: a word in braces -> the numbers that Hugging Face's names have in its place.
            Stored names count from 0. `range(layers)` where both are the same.
        optional: regular expressions of Hugging Face's names that may be missing, such as an output
            layer that is tied, or biases. What a rule has for one number it must have for all.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    optional: Collection[str] = ()


@dataclass(frozen=True)
class Cut:
    """How ranks of tensor parallelism divide a stored tensor: equal parts along a dimension.

    Args:
        dim: which.
        blocks: the whole is so many equal blocks along it, and each of them is divided.
        other: the dimension that some files have it divided along instead; the shapes tell.
    """

    dim: int
    blocks: int = 1
    other: int | None = None


Layout = tuple[Cut | None, tuple[int, ...] | None]
"""How ranks divide a stored tensor, and the shape of the whole if the config tells it."""


@dataclass(frozen=True)
class Rule:
    """Some stored tensors and what Hugging Face has in their place.

    Args:
        stored: name or names, with words in braces for numbers.
        names: Hugging Face's.
        steps: from the stored tensors to Hugging Face's; none where only the name differs.
        cut: how ranks divide the stored tensors; None: each has a copy.
        shape: of a whole stored tensor, where the config tells it.
    """

    stored: str | tuple[str, ...]
    names: str | tuple[str, ...]
    steps: tuple[Step, ...] = ()
    cut: Cut | None = None
    shape: tuple[Size, ...] | None = None
