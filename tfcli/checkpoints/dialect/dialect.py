"""A dialect: how some repository names and lays out a model's tensors, as a list of rules.

The list is read in both directions. A rule relates stored tensors to Hugging Face's, one to one,
one to many or many to one, through steps that each have an inverse (`dialect_steps`). So what makes
Hugging Face's tensors of stored ones also makes the stored ones again, bit for bit. Nothing is
passed over: a tensor that no rule knows, one that a rule lacks and one that two rules name are
errors that name it.

    Rule("embedder.weight", "model.embed_tokens.weight")
    Rule(
        "model.layers.{layer}.self_attn.qkv_proj.weight",
        tuple(f"model.layers.{{layer}}.self_attn.{part}_proj.weight" for part in "qkv"),
        (Split(0, ("heads", "kv", "kv")),),
    )

A word in braces stands for the numbers that the config gives it (`Facts.numbers`). One that is on
both sides makes a rule of each number; one that is on one side alone, such as the experts that the
other side has as a stack, makes the names of one rule.

A rule also says how ranks of tensor parallelism divide the stored tensor (`Cut`); `ranks` puts
their parts together before rules are read, and divides what rules made.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.steps import Size, Step, number_of
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

_BRACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Facts:
    """What the rules need to know of a config.

    Args:
        sizes: rows and columns by the words that steps use.
        numbers: a word in braces -> the numbers that Hugging Face's names have in its place.
            Stored names count from 0. `range(layers)` where both are the same.
        optional: Hugging Face's names that may be missing, such as an output layer that is tied.
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


@dataclass(frozen=True)
class Dialect:
    """One repository's names for one family.

    Args:
        name: shown to people.
        marks: stored names that only this dialect has.
        rules: every tensor of a checkpoint, in any order.
        facts: what a config.json says of sizes and numbers.
        dropped: regular expression of stored names that have no place -> why.
        spellings: regular expressions and what stands for them, applied to stored names one after
            the other: other names that files have for the same tensors. Only read.
    """

    name: str
    marks: tuple[str, ...]
    rules: tuple[Rule, ...]
    facts: Callable[[Mapping[str, Any]], Facts]
    dropped: Mapping[str, str] = field(default_factory=dict)
    spellings: tuple[tuple[str, str], ...] = ()

    def spelt(self, name: str) -> str:
        """A stored name as the rules have it."""
        for pattern, replacement in self.spellings:
            name = re.sub(pattern, replacement, name)
        return name

    def names(self, config: Mapping[str, Any]) -> list[str]:
        """Hugging Face's names of all tensors, optional ones too."""
        rules = _written_out(self, self.facts(config))
        return [name for rule in rules for name in rule.targets]

    def layouts(self, config: Mapping[str, Any]) -> dict[str, Layout]:
        """By the stored names of the rules."""
        facts = self.facts(config)
        found: dict[str, Layout] = {}
        for rule in self.rules:
            shape = None
            if rule.shape is not None:
                shape = tuple(number_of(size, facts.sizes) for size in rule.shape)
            for plain in _numbered(rule, facts):
                found |= dict.fromkeys(plain.sources, (rule.cut, shape))
        return found

    def unused(self, names: Iterable[str]) -> dict[str, str]:
        """The stored names that are left out -> why."""
        return {
            name: why
            for name in names
            for pattern, why in self.dropped.items()
            if re.fullmatch(pattern, name)
        }

    def to_hf(
        self, stored: Mapping[str, TensorEntry], config: Mapping[str, Any]
    ) -> dict[str, TensorEntry]:
        """Hugging Face's tensors, in the order in which the stored ones come.

        Args:
            stored: by the names of the checkpoint.
            config: the content of config.json.

        Raises:
            WorkError: a tensor that no rule knows, that is missing or that does not fit the sizes
                of the config, or two rules of one name.
        """
        left_out = self.unused(stored)
        wanted: dict[str, TensorEntry] = {}
        for name, tensor in stored.items():
            spelt = self.spelt(name)
            if spelt in wanted:
                first = wanted[spelt].name
                raise WorkError(f"{self.name}: {short(first)} and {short(name)} are one tensor")
            if name not in left_out:
                wanted[spelt] = tensor
        facts = self.facts(config)
        return _convert(self.name, _written_out(self, facts), wanted, facts.sizes)

    def from_hf(
        self, tensors: Mapping[str, TensorEntry], config: Mapping[str, Any]
    ) -> dict[str, TensorEntry]:
        """The stored tensors: the inverse of `to_hf`, but for what that leaves out.

        Raises:
            WorkError: as `to_hf`.
        """
        facts = self.facts(config)
        rules = [_inverse(rule) for rule in _written_out(self, facts)]
        return _convert(self.name, rules, tensors, facts.sizes)


@dataclass(frozen=True)
class _Plain:
    """A rule without braces, in the direction in which it is read."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    steps: tuple[Step, ...]
    optional: bool


def _inverse(rule: _Plain) -> _Plain:
    steps = tuple(step.inverse() for step in reversed(rule.steps))
    return _Plain(rule.targets, rule.sources, steps, rule.optional)


def _written_out(dialect: Dialect, facts: Facts) -> list[_Plain]:
    rules = [plain for rule in dialect.rules for plain in _numbered(rule, facts)]
    for side in ("sources", "targets"):
        seen: set[str] = set()
        for name in (name for rule in rules for name in getattr(rule, side)):
            if name in seen:
                raise WorkError(f"{dialect.name}: two rules name {short(name)}")
            seen.add(name)
    return rules


def _numbered(rule: Rule, facts: Facts) -> list[_Plain]:
    """A rule for each number of the words that both sides have."""
    numbers = facts.numbers
    stored = (rule.stored,) if isinstance(rule.stored, str) else rule.stored
    names = (rule.names,) if isinstance(rule.names, str) else rule.names
    words = [set(_BRACES.findall("".join(side))) for side in (stored, names)]
    shared = sorted(words[0] & words[1])
    found = []
    for places in itertools.product(*(range(len(numbers[word])) for word in shared)):
        here = dict(zip(shared, places, strict=True))
        there = {word: numbers[word][place] for word, place in here.items()}
        ours = {word: range(len(numbers[word])) for word in words[0] - words[1]}
        theirs = {word: numbers[word] for word in words[1] - words[0]}
        targets = _filled(names, there, theirs)
        optional = all(name in facts.optional for name in targets)
        found.append(_Plain(_filled(stored, here, ours), targets, rule.steps, optional))
    return found


def _filled(
    templates: tuple[str, ...], fixed: Mapping[str, int], running: Mapping[str, Sequence[int]]
) -> tuple[str, ...]:
    return tuple(
        template.format(**fixed, **dict(zip(running, values, strict=True)))
        for template in templates
        for values in itertools.product(*running.values())
    )


def _convert(
    dialect: str,
    rules: Iterable[_Plain],
    tensors: Mapping[str, TensorEntry],
    sizes: Mapping[str, int],
) -> dict[str, TensorEntry]:
    by_source = {name: rule for rule in rules for name in rule.sources}
    unknown = [name for name in tensors if name not in by_source]
    missing = [n for n, rule in by_source.items() if n not in tensors and not rule.optional]
    for names, what in ((unknown, "no rule for"), (missing, "missing:")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            shown = ", ".join(short(name) for name in names[:3])
            raise WorkError(
                f"{dialect}: {what} {shown}{more}",
                fix="check that the config belongs to these weights",
            )
    found: dict[str, TensorEntry] = {}
    for rule in dict.fromkeys(by_source[name] for name in tensors):
        made = [tensors[name] for name in rule.sources]
        for step in rule.steps:
            made = step.apply(made, sizes)
        if len(made) != len(rule.targets):
            raise WorkError(
                f"{dialect}: {short(rule.sources[0])} makes {len(made)} tensors, "
                f"the config asks for {len(rule.targets)}"
            )
        for name, tensor in zip(rule.targets, made, strict=True):
            found[name] = replace(tensor, name=name)
    return found
