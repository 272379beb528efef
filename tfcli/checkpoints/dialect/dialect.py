"""A dialect: how some repository names and lays out a model's tensors, as a list of rules.

The list is read in both directions. A rule relates stored tensors to Hugging Face's, one to one,
one to many or many to one, through steps that each have an inverse (`steps`). So what makes
Hugging Face's tensors of stored ones also makes the stored ones again, bit for bit. Nothing is
passed over: a tensor that no rule knows, one that a rule lacks and one that two rules name are
errors that name it. Only where a repository shares most names with Hugging Face (`whole=False`)
are the rules those of what differs.

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
        unwritten: as `dropped`, of Hugging Face's names.
        prefix: begins Hugging Face's names of the body; checkpoints of it alone may leave it out.
        whole: the rules know every tensor. False: they know those that differ; others have one name
            on both sides, and which of them must be there is not said.
    """

    name: str
    marks: tuple[str, ...]
    rules: tuple[Rule, ...]
    facts: Callable[[Mapping[str, Any]], Facts]
    dropped: Mapping[str, str] = field(default_factory=dict)
    spellings: tuple[tuple[str, str], ...] = ()
    unwritten: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    whole: bool = True

    def spelt(self, name: str) -> str:
        """A stored name as the rules have it."""
        for pattern, replacement in self.spellings:
            name = re.sub(pattern, replacement, name)
        return name

    def pairs(self, config: Mapping[str, Any]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Stored names and Hugging Face's that stand for each other; optional ones too."""
        rules = _written_out(self, self.facts(config))
        return [(rule.sources, rule.targets) for rule in rules]

    def names(self, config: Mapping[str, Any]) -> list[str]:
        """Hugging Face's names of all tensors, optional ones too."""
        return [name for _, names in self.pairs(config) for name in names]

    def with_prefix(
        self, tensors: Mapping[str, TensorEntry], config: Mapping[str, Any]
    ) -> dict[str, TensorEntry]:
        """Hugging Face's tensors with the body's prefix, where a checkpoint leaves it out."""
        known, found = set(self.names(config)), {}
        for name, tensor in tensors.items():
            whole = self.prefix + name
            name = whole if name not in known and whole in known else name
            found[name] = replace(tensor, name=name)
        return found

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
        return _matched(self.dropped, names)

    def left_unwritten(self, names: Iterable[str]) -> dict[str, str]:
        """Those of Hugging Face's names that are left out -> why."""
        return _matched(self.unwritten, names)

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
                raise _twice(self, first, name)
            if name not in left_out:
                wanted[spelt] = tensor
        facts = self.facts(config)
        return _convert(self, _written_out(self, facts), wanted, facts.sizes)

    def from_hf(
        self, tensors: Mapping[str, TensorEntry], config: Mapping[str, Any]
    ) -> dict[str, TensorEntry]:
        """The stored tensors: the inverse of `to_hf`, but for what that leaves out.

        Raises:
            WorkError: as `to_hf`.
        """
        facts = self.facts(config)
        rules = [_inverse(rule) for rule in _written_out(self, facts)]
        left_out = self.left_unwritten(tensors)
        wanted = {name: tensor for name, tensor in tensors.items() if name not in left_out}
        return _convert(self, rules, wanted, facts.sizes)


@dataclass(frozen=True)
class _Plain:
    """The rule `of` without braces, in the direction in which it is read."""

    of: Rule
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    steps: tuple[Step, ...]
    optional: bool


def _inverse(rule: _Plain) -> _Plain:
    steps = tuple(step.inverse() for step in reversed(rule.steps))
    return _Plain(rule.of, rule.targets, rule.sources, steps, rule.optional)


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
    may_lack = re.compile("|".join(facts.optional) or "(?!)")
    found = []
    for places in itertools.product(*(range(len(numbers[word])) for word in shared)):
        here = dict(zip(shared, places, strict=True))
        there = {word: numbers[word][place] for word, place in here.items()}
        ours = {word: range(len(numbers[word])) for word in words[0] - words[1]}
        theirs = {word: numbers[word] for word in words[1] - words[0]}
        targets = _filled(names, there, theirs)
        optional = all(may_lack.fullmatch(name) for name in targets)
        found.append(_Plain(rule, _filled(stored, here, ours), targets, rule.steps, optional))
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
    dialect: Dialect,
    rules: Sequence[_Plain],
    tensors: Mapping[str, TensorEntry],
    sizes: Mapping[str, int],
) -> dict[str, TensorEntry]:
    by_source = {name: rule for rule in rules for name in rule.sources}
    _require_all(dialect, by_source, rules, tensors)
    found: dict[str, TensorEntry] = {}
    done: set[str] = set()
    for name, tensor in tensors.items():
        if name in done:
            continue
        rule = by_source.get(name)
        if rule is None:
            made = {name: replace(tensor, name=name)}
        else:
            made = _applied(dialect, rule, tensors, sizes)
            done.update(rule.sources)
        for target, one in made.items():
            if target in found:
                raise _twice(dialect, found[target].sources[0], name)
            found[target] = one
    return found


def _require_all(
    dialect: Dialect,
    by_source: Mapping[str, _Plain],
    rules: Sequence[_Plain],
    tensors: Mapping[str, TensorEntry],
) -> None:
    """Refuse tensors that no rule knows, and rules that lack some."""
    begun = [rule for rule in rules if any(name in tensors for name in rule.sources)]
    unknown = [name for name in tensors if name not in by_source] if dialect.whole else []
    if dialect.whole:
        held = {id(rule.of) for rule in begun}
        begun = [rule for rule in rules if not rule.optional or id(rule.of) in held]
    missing = [name for rule in begun for name in rule.sources if name not in tensors]
    for names, what in ((unknown, "no rule for"), (missing, "missing:")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            shown = ", ".join(short(name) for name in names[:3])
            raise WorkError(
                f"{dialect.name}: {what} {shown}{more}",
                fix="check that the config belongs to these weights",
            )


def _applied(
    dialect: Dialect, rule: _Plain, tensors: Mapping[str, TensorEntry], sizes: Mapping[str, int]
) -> dict[str, TensorEntry]:
    made = [tensors[name] for name in rule.sources]
    for step in rule.steps:
        made = step.apply(made, sizes)
    if len(made) != len(rule.targets):
        raise WorkError(
            f"{dialect.name}: {short(rule.sources[0])} makes {len(made)} tensors, "
            f"the config asks for {len(rule.targets)}"
        )
    return {n: replace(one, name=n) for n, one in zip(rule.targets, made, strict=True)}


def _twice(dialect: Dialect, first: str, second: str) -> WorkError:
    return WorkError(
        f"{dialect.name}: {short(first)} and {short(second)} are one tensor, so it is stored twice"
    )


def _matched(patterns: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {
        name: why
        for name in names
        for pattern, why in patterns.items()
        if re.fullmatch(pattern, name)
    }
