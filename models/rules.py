"""How a checkpoint's tensors differ from the model's parameters, as data that works both ways.

Parameter names are those of Hugging Face, so most families need no rule. A family's rules are
applied to a parameter's name one after the other and say where a checkpoint keeps it (its `Place`);
from that, reading and writing both follow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Place:
    """Where a checkpoint keeps one parameter.

    Args:
        name: of the stored tensor.
        index: position in a stored stack, whose first dimension counts the parameters in it.
        transposed: stored [in, out], where the model has [out, in].
    """

    name: str
    index: int | None = None
    transposed: bool = False

    def read(self, stored: torch.Tensor) -> torch.Tensor:
        """The parameter as the model holds it: a view of the stored tensor, nothing is copied."""
        part = stored if self.index is None else stored[self.index]
        return part.t() if self.transposed else part

    def shape(self, stored: Sequence[int]) -> tuple[int, ...]:
        """The parameter's shape from that of the stored tensor."""
        part = tuple(stored) if self.index is None else tuple(stored[1:])
        return part[::-1] if self.transposed else part

    def write(self, tensor: torch.Tensor) -> torch.Tensor:
        """The inverse of `read`, for one element of a stack where it is one."""
        return tensor.t() if self.transposed else tensor


@dataclass(frozen=True)
class Transpose:
    """Weights stored [in, out], where the model has [out, in].

    Args:
        pattern: regular expression that the end of the parameter's name matches.
    """

    pattern: str

    def apply(self, place: Place) -> Place:
        if not re.search(f"{self.pattern}$", place.name):
            return place
        return replace(place, transposed=True)


@dataclass(frozen=True)
class Rename:
    """A part of a name that checkpoints spell in another way.

    Args:
        model: regular expression found in the parameter's name.
        stored: what it is replaced by; may name groups as `\\1`.
        of_files: the name is one of files alone: Hugging Face's module is called as ours is.
    """

    model: str
    stored: str
    of_files: bool = False

    def apply(self, place: Place) -> Place:
        return replace(place, name=re.sub(self.model, self.stored, place.name))


@dataclass(frozen=True)
class Stack:
    """Parameters that a checkpoint keeps as one tensor, such as the experts of a layer.

    Args:
        model: regular expression found in the parameter's name; its group `index` is the position
            in the stack.
        stored: what it is replaced by.
    """

    model: str
    stored: str

    def apply(self, place: Place) -> Place:
        match = re.search(self.model, place.name)
        if match is None:
            return place
        name = place.name[: match.start()] + match.expand(self.stored) + place.name[match.end() :]
        return replace(place, name=name, index=int(match["index"]))


@dataclass(frozen=True)
class OldName:
    """A name that old checkpoints use. Read, never written.

    Args:
        old: regular expression found in the checkpoint's name.
        new: what it is replaced by.
    """

    old: str
    new: str

    def apply(self, place: Place) -> Place:
        return place


@dataclass(frozen=True)
class Scoped:
    """A rule of a part, which sees names as they are where the part is a model of its own.

    Args:
        scope: how the part's names begin in the whole, such as `model.language_model.`.
        own: how they begin where it is by itself, such as `model.`.
        rule: of the part's family.
    """

    scope: str
    own: str
    rule: Rule

    def apply(self, place: Place) -> Place:
        if not place.name.startswith(self.scope):
            return place
        inner = self.rule.apply(replace(place, name=self._inside(place.name)))
        return replace(inner, name=self._outside(inner.name))

    def current(self, stored: str) -> str:
        """See `current_name`."""
        if not stored.startswith(self.scope):
            return stored
        return self._outside(current_name((self.rule,), self._inside(stored)))

    def _inside(self, name: str) -> str:
        return self.own + name.removeprefix(self.scope)

    def _outside(self, name: str) -> str:
        return self.scope + name.removeprefix(self.own)


Rule = Transpose | Rename | Stack | OldName | Scoped


def place_of(rules: Sequence[Rule], name: str) -> Place:
    """Where a checkpoint keeps a parameter: every rule is applied in turn.

    A slash is a dot that buffers cannot have in their names; see `layouts.packing.buffer_of`.
    """
    place = Place(name)
    for rule in rules:
        place = rule.apply(place)
    return replace(place, name=place.name.replace("/", ".").removesuffix("."))


def of_modules(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Those of the rules by which Hugging Face's modules are called otherwise than ours too."""
    inner = [rule.rule if isinstance(rule, Scoped) else rule for rule in rules]
    pairs = zip(rules, inner, strict=True)
    return tuple(rule for rule, own in pairs if not (isinstance(own, Rename) and own.of_files))


def current_name(rules: Sequence[Rule], stored: str) -> str:
    """Today's spelling of a checkpoint's name."""
    for rule in rules:
        if isinstance(rule, OldName):
            stored = re.sub(rule.old, rule.new, stored)
        elif isinstance(rule, Scoped):
            stored = rule.current(stored)
    return stored


def stacked(places: Mapping[str, Place]) -> dict[str, list[str]]:
    """Stored name -> the parameters in it, in the order of their positions."""
    found: dict[str, list[str]] = {}
    for name, place in places.items():
        found.setdefault(place.name, []).append(name)
    for names in found.values():
        names.sort(key=lambda name: places[name].index or 0)
    return found
