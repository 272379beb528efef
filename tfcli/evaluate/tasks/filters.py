"""Steps from what a model wrote to what is judged, by the names of lm-evaluation-harness."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfcli.errors import UsageError, hint

Answers = list[str]
Step = Callable[[Answers], Answers]
"""From the answers to one sample, as many as it is asked, to answers."""


def pipeline(steps: Sequence[Mapping[str, Any]], where: str) -> Step:
    """All steps of a filter, one after another.

    Raises:
        UsageError: a step or an argument that there is not, or a pattern that cannot be.
    """
    made = [_step(dict(each), where) for each in steps]

    def run(answers: Answers) -> Answers:
        for step in made:
            answers = step(answers)
        return answers

    return run


def describe(steps: Sequence[Mapping[str, Any]]) -> str:
    """The steps for people: `regex(...), take_first`."""
    said = []
    for each in steps:
        more = ", ".join(f"{key}={value!r}" for key, value in each.items() if key != "function")
        said.append(f"{each.get('function')}({more})" if more else str(each.get("function")))
    return ", ".join(said)


def _step(given: dict[str, Any], where: str) -> Step:
    name = given.pop("function", None)
    if name not in STEPS:
        raise UsageError(f"there is no filter {name!r}", where=where, fix=hint(str(name), STEPS))
    try:
        return STEPS[name](**given)
    except TypeError as error:
        raise UsageError(
            f"the filter {name} does not take {', '.join(given)}", where=where
        ) from error
    except re.error as error:
        raise UsageError(f"the pattern of {name} is none: {error}", where=where) from error


def _regex(
    regex_pattern: str = r"#### (\-?[0-9\.\,]+)",
    group_select: int = 0,
    fallback: str = "[invalid]",
) -> Step:
    """What a pattern finds: the match of a number, or the first group in it that is not empty."""
    pattern = re.compile(regex_pattern)

    def one(answer: str) -> str:
        found = pattern.findall(answer)
        if not found or not -len(found) <= group_select < len(found):
            return fallback
        match = found[group_select]
        if isinstance(match, tuple):
            match = next((group for group in match if group), fallback)
        return str(match).strip()

    return lambda answers: [one(each) for each in answers]


def _map(mapping_dict: Mapping[str, str] | None = None, default_value: str = "") -> Step:
    table = dict(mapping_dict or {})
    return lambda answers: [table.get(each, default_value) for each in answers]


def _first(k: int) -> Step:
    def take(answers: Answers) -> Answers:
        if len(answers) < k:
            raise UsageError(
                f"take_first_k wants {k} answers, and there are {len(answers)}",
                where="filter_list",
                fix=f"repeats: {k}",
            )
        return answers[:k]

    return take


STEPS: dict[str, Callable[..., Step]] = {
    "regex": _regex,
    "remove_whitespace": lambda: lambda answers: [each.strip() for each in answers],
    "strip": lambda: lambda answers: [each.strip() for each in answers],
    "lowercase": lambda: lambda answers: [each.lower() for each in answers],
    "uppercase": lambda: lambda answers: [each.upper() for each in answers],
    "map": _map,
    "take_first": lambda: lambda answers: answers[:1],
    "take_first_k": _first,
    "majority_vote": lambda: lambda answers: [Counter(answers).most_common(1)[0][0]],
}
"""Name -> what makes the step of its arguments."""
