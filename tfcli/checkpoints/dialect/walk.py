"""The one walk through a dialect's rules, in either direction."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.rules import Facts, Rule
from tfcli.checkpoints.dialect.steps import Step
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

_BRACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Plain:
    """The rule `of` without braces, in the direction in which it is read."""

    of: Rule
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    steps: tuple[Step, ...]
    optional: bool


def inverse(rule: Plain) -> Plain:
    """The rule for the way back."""
    steps = tuple(step.inverse() for step in reversed(rule.steps))
    return Plain(rule.of, rule.targets, rule.sources, steps, rule.optional)


def written_out(name: str, rules: Sequence[Rule], facts: Facts) -> list[Plain]:
    """All rules without braces.

    Args:
        name: of the dialect, for errors.
        rules: of it.
        facts: of the config.

    Raises:
        WorkError: two rules of one name.
    """
    found = [plain for rule in rules for plain in numbered(rule, facts)]
    for side in ("sources", "targets"):
        seen: set[str] = set()
        for one in (one for rule in found for one in getattr(rule, side)):
            if one in seen:
                raise WorkError(f"{name}: two rules name {short(one)}")
            seen.add(one)
    return found


def numbered(rule: Rule, facts: Facts) -> list[Plain]:
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
        found.append(Plain(rule, _filled(stored, here, ours), targets, rule.steps, optional))
    return found


def _filled(
    templates: tuple[str, ...], fixed: Mapping[str, int], running: Mapping[str, Sequence[int]]
) -> tuple[str, ...]:
    return tuple(
        template.format(**fixed, **dict(zip(running, values, strict=True)))
        for template in templates
        for values in itertools.product(*running.values())
    )


def convert(
    name: str,
    rules: Sequence[Plain],
    tensors: Mapping[str, TensorEntry],
    sizes: Mapping[str, int],
    *,
    whole: bool,
) -> dict[str, TensorEntry]:
    """What rules make of tensors, in the order in which these come.

    Args:
        name: of the dialect, for errors.
        rules: in the direction in which they are read.
        tensors: by the names of their sources.
        sizes: of the config.
        whole: the rules know every tensor; False: others are passed on.

    Raises:
        WorkError: a tensor that no rule knows, that is missing, that does not fit or is made twice.
    """
    by_source = {name: rule for rule in rules for name in rule.sources}
    _require_all(name, by_source, rules, tensors, whole=whole)
    found: dict[str, TensorEntry] = {}
    done: set[str] = set()
    for source, tensor in tensors.items():
        if source in done:
            continue
        rule = by_source.get(source)
        if rule is None:
            made = {source: replace(tensor, name=source)}
        else:
            made = _applied(name, rule, tensors, sizes)
            done.update(rule.sources)
        for target, one in made.items():
            if target in found:
                raise stored_twice(name, found[target].sources[0], source)
            found[target] = one
    return found


def _require_all(
    name: str,
    by_source: Mapping[str, Plain],
    rules: Sequence[Plain],
    tensors: Mapping[str, TensorEntry],
    *,
    whole: bool,
) -> None:
    """Refuse tensors that no rule knows, and rules that lack some."""
    needed = [rule for rule in rules if any(source in tensors for source in rule.sources)]
    unknown = [source for source in tensors if source not in by_source] if whole else []
    if whole:
        begun = {id(rule.of) for rule in needed}
        needed = [rule for rule in rules if not rule.optional or id(rule.of) in begun]
    missing = [source for rule in needed for source in rule.sources if source not in tensors]
    for names, what in ((unknown, "no rule for"), (missing, "missing:")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            shown = ", ".join(short(one) for one in names[:3])
            raise WorkError(
                f"{name}: {what} {shown}{more}",
                fix="check that the config belongs to these weights",
            )


def _applied(
    name: str, rule: Plain, tensors: Mapping[str, TensorEntry], sizes: Mapping[str, int]
) -> dict[str, TensorEntry]:
    made = [tensors[source] for source in rule.sources]
    for step in rule.steps:
        made = step.apply(made, sizes)
    if len(made) != len(rule.targets):
        raise WorkError(
            f"{name}: {short(rule.sources[0])} makes {len(made)} tensors, "
            f"the config asks for {len(rule.targets)}"
        )
    return {n: replace(one, name=n) for n, one in zip(rule.targets, made, strict=True)}


def stored_twice(name: str, first: str, second: str) -> WorkError:
    """The error that two stored tensors, `first` and `second`, have one place."""
    return WorkError(
        f"{name}: {short(first)} and {short(second)} are one tensor, so it is stored twice"
    )
