"""A dialect: how some repository names and lays out a model's tensors, as a list of rules.

The list is read in both directions. A rule relates stored tensors to Hugging Face's, one to one,
one to many or many to one, through steps that each have an inverse (`steps`). So what makes
Hugging Face's tensors of stored ones also makes the stored ones again, bit for bit. Nothing is
passed over: a tensor that no rule knows, one that a rule lacks and one that two rules name are
errors that name it. Only where a repository shares most names with Hugging Face (`whole=False`)
are the rules those of what differs.

A rule also says how ranks of tensor parallelism divide the stored tensor (`Cut`); `ranks` puts
their parts together before rules are read, and divides what rules made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.rules import Facts, Layout, Rule
from tfcli.checkpoints.dialect.steps import number_of
from tfcli.checkpoints.dialect.walk import convert, inverse, numbered, stored_twice, written_out


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
        rules = written_out(self.name, self.rules, self.facts(config))
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
            for plain in numbered(rule, facts):
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
                raise stored_twice(self.name, wanted[spelt].name, name)
            if name not in left_out:
                wanted[spelt] = tensor
        facts = self.facts(config)
        rules = written_out(self.name, self.rules, facts)
        return convert(self.name, rules, wanted, facts.sizes, whole=self.whole)

    def from_hf(
        self, tensors: Mapping[str, TensorEntry], config: Mapping[str, Any]
    ) -> dict[str, TensorEntry]:
        """The stored tensors: the inverse of `to_hf`, but for what that leaves out.

        Raises:
            WorkError: as `to_hf`.
        """
        facts = self.facts(config)
        rules = [inverse(rule) for rule in written_out(self.name, self.rules, facts)]
        left_out = self.left_unwritten(tensors)
        wanted = {name: tensor for name, tensor in tensors.items() if name not in left_out}
        return convert(self.name, rules, wanted, facts.sizes, whole=self.whole)


def _matched(patterns: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {
        name: why
        for name in names
        for pattern, why in patterns.items()
        if re.fullmatch(pattern, name)
    }
