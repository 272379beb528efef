"""How a checkpoint's tensors differ from the model's parameters, as data that works both ways.

Module names are those of Hugging Face, so most families need no rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Transpose:
    """Weights stored [in, out], where the model has [out, in].

    Args:
        pattern: regular expression that the whole parameter name matches.
    """

    pattern: str


@dataclass(frozen=True)
class OldName:
    """A name that old checkpoints use. Read, never written.

    Args:
        old: regular expression found in the checkpoint's name.
        new: what it is replaced by.
    """

    old: str
    new: str


Rule = Transpose | OldName


def model_name(rules: tuple[Rule, ...], name: str) -> str:
    """The parameter's name for a checkpoint's name."""
    for rule in rules:
        if isinstance(rule, OldName):
            name = re.sub(rule.old, rule.new, name)
    return name


def to_model(rules: tuple[Rule, ...], name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A checkpoint's tensor as the model holds it. A transposed one is a view: nothing is copied.

    Args:
        rules: the family's.
        name: the parameter's name in the model.
        tensor: as stored.
    """
    return tensor.t() if _transposed(rules, name) else tensor


def to_checkpoint(rules: tuple[Rule, ...], name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_model`. The result is contiguous, as containers want it."""
    return (tensor.t() if _transposed(rules, name) else tensor).contiguous()


def _transposed(rules: tuple[Rule, ...], name: str) -> bool:
    return any(isinstance(rule, Transpose) and re.fullmatch(rule.pattern, name) for rule in rules)
